"""Pages of listed origins: browsers get every answer, and nobody else gets more than before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.middleware.cors import Origins
from httpfront.middleware.host_names import HostNames
from tests.http.playing import Front, playing, problem
from tests.http.rawhttp import Answer, Client, Echo, running
from tests.support.table import table

HOST = "localhost:8100"
LISTED = "https://app.example"
PAGE = (f"Origin: {LISTED}", "Sec-Fetch-Site: cross-site")


@pytest.fixture(scope="module")
def _open() -> Iterator[Front]:
    with playing(hosts=HostNames(("127.0.0.1",), (), keys=False), origins=Origins([LISTED])) as front:
        yield front


@pytest.fixture
def front(_open: Front) -> Front:
    _open.reset()
    _open.answers(Op.TAKE, ops.Message("abc1", 5, 1_700_000_000_000, 1, 3, b"", b"body"))
    return _open


def shared(answer: Answer) -> bool:
    """Whether a browser gives the answer to a page of the listed origin, with all header fields and no cookies."""
    fields = answer.headers
    assert fields["vary"] == "Origin"
    assert "access-control-allow-credentials" not in fields
    assert fields.get("access-control-expose-headers", "*") == "*"
    return fields.get("access-control-allow-origin") == LISTED


def test_a_page_of_a_listed_origin_is_answered(front: Front) -> None:
    answer = front.ask("GET /t/u", *PAGE, host=HOST)
    assert (answer.status, answer.body) == (200, b"body")
    assert shared(answer)


@table(
    ("line", "status"),
    [("GET /t/u?nonsense=1", 400), ("GET /a/b/c/d", 404), ("PUT /t", 405), ("GET /t/u/dead", 500), ("OPTIONS /t", 204)],
)
def test_errors_reach_the_page_too(front: Front, line: str, status: int) -> None:
    answer = front.ask(line, *PAGE, host=HOST)
    assert answer.status == status
    assert shared(answer)


def test_a_refused_host_or_prefetch_stays_refused(front: Front) -> None:
    answer = front.ask("GET /t/u", *PAGE, host="evil.example")
    assert (problem(answer)[1], shared(answer)) == ("wrong-host", True)
    answer = front.ask("GET /t/u", *PAGE, "Sec-Purpose: prefetch", host=HOST)
    assert (problem(answer)[1], shared(answer)) == ("prefetch", True)
    assert front.calls == []


@table(
    "headers",
    [
        ["Sec-Fetch-Site: cross-site"],
        ["Origin: https://app.example.evil"],
        ["Origin: http://app.example"],
        ["Origin: null"],
        ["Origin: https://app.example, https://app.example"],
    ],
)
def test_an_image_or_a_page_of_another_origin_is_refused(front: Front, headers: list[str]) -> None:
    answer = front.ask("GET /t/u", *headers, host=HOST)
    assert (problem(answer)[1], shared(answer)) == ("foreign-origin", False)
    assert front.calls == []


def test_answers_to_others_vary_and_carry_nothing(front: Front) -> None:
    assert not shared(front.ask("GET /t/u", host=HOST))
    assert not shared(front.ask("GET /t/u", f"Origin: http://{HOST}", host=HOST))


PREFLIGHT = (*PAGE, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,meta-x")


@table("path", ["/t/u", "/t/u?stream=sse", "/no/such/path/at/all", "/t/u/a-1.1"])
def test_a_preflight_of_a_listed_origin_is_204(front: Front, path: str) -> None:
    answer = front.ask(f"OPTIONS {path}", *PREFLIGHT, host=HOST)
    assert (answer.status, answer.body, shared(answer)) == (204, b"", True)
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PATCH, DELETE"
    assert answer.headers["access-control-allow-headers"] == "Authorization, *"


def test_a_preflight_of_another_origin_is_refused(front: Front) -> None:
    headers = ("Origin: https://evil.example", "Access-Control-Request-Method: GET")
    assert problem(front.ask("OPTIONS /t/u", *headers, host=HOST))[1] == "foreign-origin"


def test_the_host_is_checked_before_a_preflight(front: Front) -> None:
    assert front.ask("OPTIONS /t/u", *PREFLIGHT, host="evil.example").status == 421


def test_nothing_varies_without_listed_origins() -> None:
    with playing() as front:
        front.answers(Op.TAKE, ops.Message("abc1", 5, 1_700_000_000_000, 1, 3, b"", b"body"))
        assert "vary" not in front.ask("GET /t/u").headers
        assert front.ask("GET /t/u", *PAGE).status == 403


def test_plain_text_reaches_the_page_too() -> None:
    with running(Echo(), answer_fields=Origins([LISTED]).fields, max_body=10) as server, Client(server.port) as client:
        client.send(f"POST /t HTTP/1.1\r\nHost: x\r\nOrigin: {LISTED}\r\nContent-Length: 11\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, shared(answer)) == (413, True)
    with running(Echo(), answer_fields=Origins([LISTED]).fields) as server, Client(server.port) as client:
        client.send(f"GET /fail HTTP/1.1\r\nHost: x\r\nOrigin: {LISTED}\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, shared(answer)) == (500, True)
