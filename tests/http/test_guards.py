"""What comes from pages of other origins, by other names, or ahead of its use, is refused before anything happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.batch import FRAMES
from httpfront.middleware.host_names import HostNames
from tests.http.playing import Front, playing, problem
from tests.support.table import table

HOST = "localhost:8100"
OWN = f"Origin: http://{HOST}"
CALLS = (
    *("GET /t/u", "GET /t/u?lease=30", "GET /t/u?max=5", "HEAD /t/u", "POST /t/u", "PATCH /t/u?max_deliveries=1"),
    *("DELETE /t/u", "POST /t", "POST /t/u/acks", "DELETE /t/u/a-1.1", "GET /t/u/dead", "DELETE /t/u/dead"),
    *("OPTIONS /t/u", "OPTIONS *", "GET /livez", "GET /t/u?nonsense=1", "GET /a/b/c/d"),
)


@pytest.fixture(scope="module")
def _local() -> Iterator[Front]:
    with playing(hosts=HostNames(("127.0.0.1",), ("mail.example",), keys=False)) as front:
        yield front


@pytest.fixture
def front(_local: Front) -> Front:
    """One that answers to local names and to mail.example."""
    _local.reset()
    _local.answers(Op.TAKE, ops.Message("abc1", 5, 1_700_000_000_000, 1, 3, b"", b"body"))
    return _local


@table("line", CALLS)
@table(
    ("headers", "code"),
    [
        (["Sec-Fetch-Site: cross-site"], "foreign-origin"),
        (["Sec-Fetch-Site: same-site"], "foreign-origin"),
        (["Origin: http://evil.example", "Sec-Fetch-Site: same-origin"], "foreign-origin"),
        (["Origin: null"], "foreign-origin"),
        (["Sec-Fetch-Site: same-site", "Sec-Purpose: prefetch"], "foreign-origin"),
        (["Sec-Fetch-Site: same-origin", "Sec-Purpose: prefetch;prerender"], "prefetch"),
        (["Purpose: prefetch"], "prefetch"),
        (["X-Moz: prefetch"], "prefetch"),
    ],
)
def test_nothing_is_done_for_pages_of_others_and_nothing_ahead(
    front: Front, line: str, headers: list[str], code: str
) -> None:
    answer = front.ask(line, *headers, body=b"forged", host=HOST)
    assert answer.status == 403
    if not line.startswith("HEAD"):
        assert problem(answer)[:2] == (403, code)
    assert front.calls == []


@table("line", [line for line in CALLS if "livez" not in line])
def test_nothing_is_done_by_a_name_that_may_be_a_pages_own(front: Front, line: str) -> None:
    for page in ([], ["Origin: http://evil.example:8100", "Sec-Fetch-Site: same-origin"], ["Origin: null"]):
        answer = front.ask(line, *page, host="evil.example:8100")
        assert answer.status == 421, "the name goes before the origin"
        if not line.startswith("HEAD"):
            assert problem(answer)[:2] == (421, "wrong-host")
            assert b"--allowed-hosts" in answer.body
    assert front.calls == []


def test_probes_answer_to_any_name_but_a_publish_to_their_names_does_not(front: Front) -> None:
    for line in ("GET /livez", "HEAD /livez", "OPTIONS /livez", "GET /readyz?strict=1", "HEAD /readyz"):
        assert front.ask(line, host="evil.example").status in (200, 204)
    assert front.ask("POST /livez", host="evil.example").status == 421
    assert front.ask("GET /livez/u", host="evil.example").status == 421
    assert front.calls == []


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8100", "http://localhost:8100"),
        ("LocalHost:8100", "https://localhost:8100"),
        ("mail.example", "https://mail.example"),
        ("mail.example:443", "https://mail.example"),
        ("mail.example", "http://mail.example:80"),
        ("mail.example:80", "https://mail.example:443"),
        ("[::1]:8100", "http://[::1]:8100"),
        ("127.0.0.1", "http://127.0.0.1"),
    ],
)
def test_pages_of_the_server_itself_may_do_everything(front: Front, host: str, origin: str) -> None:
    for site in ("same-origin", "none"):
        assert front.ask("GET /t/u", f"Origin: {origin}", f"Sec-Fetch-Site: {site}", host=host).body == b"body"
    assert len(front.calls) == 2


@table(
    ("host", "origin"),
    [
        ("localhost:8100", "http://localhost:8101"),
        ("localhost:8100", "http://localhost"),
        ("localhost:8080", "http://localhost:80"),
        ("localhost", "http://127.0.0.1"),
        ("localhost", "http://localhost.evil.example"),
        ("localhost", "http://localhost/"),
        ("localhost", "localhost"),
        ("localhost", "http://"),
        ("localhost", "http://localhost, http://evil.example"),
    ],
)
def test_another_host_or_port_is_another_origin(front: Front, host: str, origin: str) -> None:
    assert problem(front.ask("GET /t/u", f"Origin: {origin}", host=host))[1] == "foreign-origin"
    assert front.calls == []


def test_an_absolute_target_goes_before_the_host(front: Front) -> None:
    assert front.ask("GET http://evil.example:8100/t/u", host=HOST).status == 421
    assert problem(front.ask("GET http://localhost/t/u", OWN, host=HOST))[1] == "foreign-origin"
    assert front.ask(f"GET http://x@{HOST}/t/u", OWN, host="evil.example").status == 200


@table(
    "headers",
    [
        ["Accept: text/event-stream"],
        ["Accept: Text/Event-Stream;charset=utf-8;q=0.5"],
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
        ["Connection: Upgrade", "Upgrade: h2c, WebSocket/13"],
        ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ],
)
@table("line", ["GET /t/u", "GET /t/u?wait=20", "GET /t/u?max=5", "GET /t/u/dead", "GET /"])
def test_nothing_is_taken_for_who_reads_streams_only(front: Front, line: str, headers: list[str]) -> None:
    if "/t/u" in line and "dead" not in line and "event-stream" in headers[0].lower():
        return  # there is a stream, or a parameter that has no meaning for it
    refusal = problem(front.ask(line, *headers, host=HOST))
    if "dead" in line or "event-stream" in headers[0].lower():
        assert refusal[:2] == (406, "not-acceptable")
    else:  # half a handshake, or one with parameters of something else
        assert refusal[:2] == (400, "bad-parameter" if "?" in line else "bad-handshake")
    assert front.calls == []


@table(("line", "parameter"), [("GET /t/u?wait=20", "wait"), ("GET /t/u?max=5", "max"), ("GET /t/u?lease=5", "lease")])
def test_what_has_no_meaning_for_a_stream_is_refused(front: Front, line: str, parameter: str) -> None:
    for more in (line, f"{line}&stream=sse"):
        answer = front.ask(more, "Accept: text/event-stream", host=HOST)
        assert problem(answer) == (400, "bad-parameter", parameter)
    assert front.calls == []


@table(
    "headers",
    [
        ["Accept: */*"],
        ["Accept: text/*"],
        ["Accept: text/event-stream;q=0, */*"],
        ["Accept: text/plain, text/event-stream;q=0.5"],
        ["Accept: text/event-stream-like"],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        ["Upgrade: notwebsocket"],
    ],
)
def test_what_names_no_stream_is_answered(front: Front, headers: list[str]) -> None:
    assert front.ask("GET /t/u", *headers, host=HOST).body == b"body"


def test_a_browser_runs_nothing_of_a_message(front: Front) -> None:
    batch = ops.Batch("abc1", 0, [ops.Run(1, 1, 1_700_000_000_000, b"", b"\0\0\0\1x")])
    front.answers(Op.FETCH, batch)
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, []))
    for line in ("GET /t/u", "GET /t/u?lease=30", "GET /t/u?after=0", "GET /t/u?max=9", "GET /t/u/dead"):
        for accept in ("*/*", FRAMES):
            answer = front.ask(line, f"Accept: {accept}", host=HOST)
            assert answer.status == 200
            assert answer.headers["content-security-policy"] == "sandbox"
            assert answer.headers["x-content-type-options"] == "nosniff"
