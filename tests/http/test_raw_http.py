"""The server over raw sockets: framing, refusals, keep-alive, pipelining, the bytes of an answer."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from httpfront.server.request_summary import RequestSummary
from httpfront.server.server import FrontServer
from tests.http.rawhttp import Client, Echo, chunked, get, post, running, wait_for

MAX_BODY = 100_000
Served = tuple[FrontServer, Echo]


@pytest.fixture
def served() -> Iterator[Served]:
    app = Echo()
    with running(app, max_body=MAX_BODY, max_headers=4000, max_target=1000) as server:
        yield server, app


# -- what is refused


@pytest.mark.parametrize(
    ("status", "lines", "body"),
    [
        (400, ["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (400, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (400, ["Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n"),
        (501, ["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        (400, ["Content-Length: 5", "Content-Length: 0"], b"hello"),
        (400, ["Content-Length: " + "9" * 3000], b""),
        (400, ["Content-Length : 5"], b"hello"),
        (400, ["A: b", " c: d"], b""),
        (400, ["A: b\nContent-Length: 5"], b"hello"),
        (400, ["Host: other"], b""),
        (431, ["A: " + "b" * 4000], b""),
    ],
)
def test_a_doubtful_request_is_refused_and_nothing_after_it_is_served(
    served: Served, status: int, lines: list[str], body: bytes
) -> None:
    server, app = served
    request = "\r\n".join(["POST /first HTTP/1.1", "Host: test", *lines, "", ""]).encode()
    with Client(server.port) as client:
        answer = client.send(request + body + get("/smuggled")).answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert client.at_end()
    assert app.served == []


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET /\r\n\r\n"),
        (505, get("/", version="2.0")),
        (505, get("/", version="0.9")),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (414, get("/" + "a" * 1000)),
        (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01"),
        (400, b"GET / HTTP/1.1\nHost: h\n\n"),
    ],
)
def test_what_is_not_http_1_is_refused(served: Served, status: int, request_: bytes) -> None:
    server, app = served
    with Client(server.port) as client:
        assert client.send(request_).answer().status == status
        assert client.at_end()
    assert app.served == []


def test_every_form_of_target_reaches_the_application_raw(served: Served) -> None:
    server, app = served
    with Client(server.port) as client:
        for target in ("http://h/a%2Fb?c=%64", "*", "h:1", "//a", "/%ff%"):
            assert client.get(target).status == 200
    raw = [environ["REQUEST_URI"] for environ in app.environs]
    assert raw == ["http://h/a%2Fb?c=%64", "*", "h:1", "//a", "/%ff%"]


def test_header_names_with_underscores_are_not_honoured(served: Served) -> None:
    server, app = served
    with Client(server.port) as client:
        client.send(get("/a", "Content_Length: 9", "Transfer_Encoding: chunked")).answer()
        assert client.get("/b").status == 200
    assert "CONTENT_LENGTH" not in app.environs[0]
    assert "HTTP_TRANSFER_ENCODING" not in app.environs[0]


# -- bodies


def test_bodies_up_to_the_ceiling_are_accepted(served: Served) -> None:
    server, _ = served
    body = bytes(range(256)) * 390 + b"x" * 160
    assert len(body) == MAX_BODY
    with Client(server.port) as client:
        assert client.send(post("/a", body)).answer().body == body
        assert client.send(chunked("/a", body)).answer().body == body
        assert client.send(chunked("/a", *(body[n : n + 1] for n in range(MAX_BODY)))).answer().body == body


def test_a_chunked_body_over_the_ceiling_is_refused(served: Served) -> None:
    server, app = served
    for chunks in ([b"x" * (MAX_BODY + 1)], [b"x" * MAX_BODY, b"x"]):
        with Client(server.port) as client:
            assert client.send(chunked("/a", *chunks)).answer().status == 413
            assert client.at_end()
    assert app.served == []


def test_content_length_over_the_ceiling_is_refused_before_the_body(served: Served) -> None:
    server, app = served
    lines = ["POST /a HTTP/1.1", "Host: h", f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue"]
    with Client(server.port) as client:
        answer = client.send("\r\n".join([*lines, "", ""]).encode()).answer()
        assert answer.status == 413
        assert client.at_end()
    assert app.served == []


def test_a_client_that_sends_all_of_a_refused_body_can_read_the_answer(served: Served) -> None:
    server, _ = served
    with Client(server.port) as client:
        client.send(post("/a", b"x" * 5_000_000))  # would fail, or the answer be lost, after a reset
        assert client.answer().status == 413
        assert client.at_end()


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("sent", [post("/cut", b"x" * 100)[:-1], chunked("/cut", b"x" * 9, end=b"0\r\n")])
def test_a_truncated_body_never_reaches_the_application(served: Served, half: bool, sent: bytes) -> None:
    server, app = served
    client = Client(server.port).send(sent)
    if half:
        client.sock.shutdown(socket.SHUT_WR)
        assert client.at_end()
    client.close()
    wait_for(lambda: not server.connections)
    assert app.served == []


def test_a_client_that_half_closes_after_its_request_gets_its_answer(served: Served) -> None:
    server, app = served
    with Client(server.port) as client:
        client.send(get("/wait") + get("/then"))
        client.sock.shutdown(socket.SHUT_WR)
        wait_for(lambda: app.served)
        app.gate.set()
        assert client.answer().status == 200
        assert client.answer().headers["x-path"] == "/then"
        assert client.at_end()


def test_resets_at_any_moment_are_survived(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    server, app = served
    app.gate.set()
    requests = [b"", b"G", get("/a"), get("/a") * 50, get("/big?3000000"), get("/204"), b"\0"]
    requests.append(post("/a", b"x" * 9)[:-3])
    for request in requests * 5:
        client = Client(server.port)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.send(request).close()
    with Client(server.port) as client:
        assert client.get("/still").status == 200
    wait_for(lambda: not server.connections)
    assert not caplog.records


# -- keep-alive and the bytes of an answer


def test_the_connection_stays_open_after_204(served: Served) -> None:
    server, _ = served
    with Client(server.port) as client:
        for _ in range(3):
            answer = client.get("/204")
            assert answer.status == 204
            assert not {"content-length", "transfer-encoding"} & set(answer.headers)
        assert client.send(post("/204", b"x")).answer().status == 204


def test_head_has_the_head_of_get_and_no_body(served: Served) -> None:
    server, _ = served
    with Client(server.port) as client:
        answer = client.send(get("/big?7").replace(b"GET", b"HEAD", 1)).answer(to_head=True)
        assert answer.status == 200
        assert client.get("/big?7").headers["content-length"] == "7"
        fail = client.send(get("/fail").replace(b"GET", b"HEAD", 1)).answer(to_head=True)
        assert fail.status == 500
        assert client.at_end()


def test_header_order_and_case_are_the_applications(served: Served) -> None:
    server, _ = served
    with Client(server.port) as client:
        lines = client.get("/a").head.split(b"\r\n")
    names = [line.split(b":")[0] for line in lines[1:]]
    assert names == [b"Date", b"Content-Type", b"X-PATH", b"Content-Length", b"Connection", b"Keep-Alive"]


def test_an_answer_leaves_in_one_write(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = served
    sends: list[int] = []

    class Counting(socket.socket):
        def send(self, data: Any, *rest: int) -> int:
            sends.append(len(data))
            return super().send(data, *rest)

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        fd, address = self._accept()  # type: ignore[attr-defined]
        return Counting(fileno=fd), address

    monkeypatch.setattr(socket.socket, "accept", accept)
    with Client(server.port) as client:
        client.get("/big?1000")
        client.get("/204")
    assert len(sends) == 2


@pytest.mark.parametrize(
    ("version", "options", "answered"),
    [
        ("1.1", "close", "close"),
        ("1.1", "keep-alive, Close", "close"),
        ("1.1", "keep-alive", "keep-alive"),
        ("1.1", "x", "keep-alive"),
        ("1.0", "Keep-Alive", "keep-alive"),
        ("1.0", "x", "close"),
    ],
)
def test_connection_options(served: Served, version: str, options: str, answered: str | None) -> None:
    server, _ = served
    with Client(server.port) as client:
        for _ in range(2):
            client.send(get("/a", f"Connection: {options}", version=version))
            headers = client.answer().headers
            assert headers.get("connection") == answered
            assert headers.get("keep-alive") == (None if answered == "close" else "timeout=74")
            if answered == "close":
                assert client.at_end()
                break


@pytest.mark.parametrize(("seconds", "hint"), [(75.0, "timeout=74"), (2.9, "timeout=1"), (1.9, None), (0.1, None)])
def test_clients_are_told_to_use_a_connection_for_less_than_it_is_kept(seconds: float, hint: str | None) -> None:
    with running(Echo(), idle_timeout=seconds) as server, Client(server.port) as client:
        assert client.get("/a").headers.get("keep-alive") == hint


def test_a_failing_application_is_500_and_a_header_injection_too(served: Served) -> None:
    server, _ = served
    for target in ("/fail", "/inject"):
        with Client(server.port) as client:
            answer = client.get(target)
            assert (answer.status, answer.headers["connection"]) == (500, "close")
            assert "x-evil" not in answer.headers
            assert b"as asked" not in answer.body
            assert client.at_end()


# -- pipelining and 100-continue


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    server, app = served
    requests = [(post if n % 2 else chunked)(f"/n{n}", b"b" * n) for n in range(1, 300)]
    with Client(server.port) as client:
        client.send(b"\r\n".join(requests))
        for n in range(1, 300):
            answer = client.answer()
            assert (answer.headers["x-path"], len(answer.body)) == (f"/n{n}", n)
        assert client.get("/last").status == 200
    assert len(app.served) == 300


def test_pipelined_requests_byte_by_byte(served: Served) -> None:
    server, _ = served
    data = get("/1") + post("/2", b"two") + chunked("/3", b"thr", b"ee")
    with Client(server.port) as client:
        client.send(*(data[n : n + 1] for n in range(len(data))))
        assert [client.answer().body for _ in range(3)] == [b"", b"two", b"three"]


def test_nothing_behind_connection_close_is_served(served: Served) -> None:
    server, app = served
    with Client(server.port) as client:
        client.send(get("/1", "Connection: close") + get("/2")).answer()
        assert client.at_end()
    assert app.served == ["/1"]


def test_100_continue(served: Served) -> None:
    server, _ = served
    head, body = post("/a", b"hello", "Expect: 100-continue")[:-5], b"hello"
    with Client(server.port) as client:
        for _ in range(2):
            assert client.send(head).answer().status == 100
            assert client.send(body).answer().body == b"hello"
        assert client.send(head + body).answer().status == 200  # did not wait


def test_100_continue_comes_behind_the_answers_before_it(served: Served) -> None:
    server, app = served
    request = post("/b", b"hello", "Expect: 100-continue")
    with Client(server.port) as client:
        client.send(get("/wait") + get("/a") + request[:-5])
        wait_for(lambda: app.served)
        app.gate.set()
        assert [client.answer().status for _ in range(3)] == [200, 200, 100]
        assert client.send(request[-5:]).answer().body == b"hello"


# -- what the application and the hook are told


@pytest.mark.parametrize("pipelined", [b"", get("/behind")])
def test_the_application_can_ask_whether_the_client_has_gone(served: Served, pipelined: bytes) -> None:
    server, app = served
    client = Client(server.port).send(get("/gone") + pipelined)
    wait_for(lambda: app.served)
    assert not app.environs[0]["waitress.client_disconnected"]()
    if pipelined:
        client.send(get("/more"))
    client.close()
    assert app.disconnected.wait(20)


def test_on_request_is_told_of_every_answer_and_may_fail() -> None:
    told: list[RequestSummary] = []

    def on_request(answered: RequestSummary) -> None:
        told.append(answered)
        raise RuntimeError("as asked")

    with running(Echo(), on_request) as server:
        sizes = []
        for request in (get("/a"), get("/fail"), get("/a", version="3.0")):
            with Client(server.port) as client:
                answer = client.send(request).answer()
                sizes.append(len(answer.head) + 4 + len(answer.body))
    assert [(t.method, t.route, t.status, t.request_id) for t in told] == [
        ("GET", "echo", 200, "r1"),
        ("GET", "echo", 500, "r1"),
        ("GET", "", 505, ""),
    ]
    assert [t.sent for t in told] == sizes
    assert all(0 <= t.duration < 20 for t in told)


# -- too many connections


def test_connections_over_the_ceiling_are_told_so(served: Served) -> None:
    with running(Echo(), connections=2) as server:
        first, second = Client(server.port), Client(server.port)
        assert (first.get("/1").status, second.get("/2").status) == (200, 200)
        for _ in range(3):
            with Client(server.port) as third:
                answer = third.get("/3")
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.headers["connection"] == "close"
                assert third.at_end()
        silent = [Client(server.port) for _ in range(100)]  # the surplus has room for 64
        wait_for(lambda: len(server.connections) >= 66)
        assert len(server.connections) == 66
        assert (first.get("/1").status, second.get("/2").status) == (200, 200)
        for client in silent:
            client.close()
        second.close()
        wait_for(lambda: len(server.connections) == 1)
        with Client(server.port) as third:
            assert third.get("/3").status == 200
        first.close()


def test_connections_that_have_had_their_last_answer_do_not_count() -> None:
    with running(Echo(), connections=2) as server:
        leaving = [Client(server.port) for _ in range(2)]
        for client in leaving:
            assert client.get("/a", "Connection: close").status == 200
        with Client(server.port) as third:
            assert third.get("/3").status == 200
        for client in leaving:
            client.close()
