"""The strict request parser: what it reads, what it refuses, and that pieces make no difference."""

from __future__ import annotations

from dataclasses import dataclass

from httpfront.server.fields import FieldReader
from httpfront.server.head import HeadReader
from httpfront.server.parser import RequestParser
from httpfront.server.response import keeps_alive
from tests.support.table import table


@dataclass(frozen=True)
class Limits:
    max_body: int = 1000
    max_headers: int = 2000
    max_target: int = 200


LIMITS = Limits()


def new_parser(limits: Limits = LIMITS) -> RequestParser:
    """As the server makes it."""
    return RequestParser(HeadReader(limits, FieldReader()))


def feed(parser: RequestParser, data: bytes, size: int) -> bytes:
    """Feeds `size` bytes at a time, as a connection would, until the request is complete. Returns the rest."""
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        while piece and not parser.completed:
            piece = piece[parser.received(piece) :]
        if parser.completed:
            return piece + data[start + size :]
    return b""


def parse(data: bytes, limits: Limits = LIMITS) -> tuple[RequestParser, bytes]:
    """A complete request and what is left behind it, the same in one piece and byte by byte."""
    whole, pieces = new_parser(limits), new_parser(limits)
    rest = feed(whole, data, len(data))
    assert feed(pieces, data, 1) == rest
    for parser in (whole, pieces):
        assert parser.completed
        assert parser.error is None
    assert whole.environ == pieces.environ
    return whole, rest


def refusal(data: bytes, limits: Limits = LIMITS) -> int:
    """The status a request is refused with, the same in one piece and byte by byte."""
    codes = []
    for size in (len(data), 1):
        parser = new_parser(limits)
        feed(parser, data, size)
        assert parser.completed, "still waiting for more"
        assert parser.error is not None, "accepted"
        codes.append(parser.error.code)
    assert codes[0] == codes[1]
    return codes[0]


def head(*lines: str, first: str = "POST /a HTTP/1.1", host: str = "Host: h") -> bytes:
    return "\r\n".join([first, host, *lines, "", ""]).encode("latin-1")


def test_a_request_keeps_its_raw_target_and_leaves_the_next_one_alone() -> None:
    parser, rest = parse(b"GET /a%2Fb/%C3%A9?q=%20 HTTP/1.1\r\nHost: h:1\r\nmsg-x: \t v \t\r\n\r\nGET /next")
    assert rest == b"GET /next"
    assert parser.environ == {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_URI": "/a%2Fb/%C3%A9?q=%20",
        "PATH_INFO": "/a/b/\u00c3\u00a9",
        "QUERY_STRING": "q=%20",
        "HTTP_HOST": "h:1",
        "HTTP_MSG_X": "v",
    }


def test_a_body_ends_where_its_length_says() -> None:
    parser, rest = parse(head("Content-Length: 5") + b"helloGET")
    assert parser.body.take() == b"hello"
    assert rest == b"GET"


@table(
    ("status", "data"),
    [
        (400, head("Content-Length: 1", "Transfer-Encoding: chunked")),
        (400, head("Transfer-Encoding: chunked", "Content-Length: 1")),
        (400, head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
        (400, head("Transfer-Encoding: gzip", "Transfer-Encoding: chunked")),
        (400, head("Transfer-Encoding: chunked, chunked")),
        (400, head("Transfer-Encoding: chunked, gzip")),  # RFC 9112, section 6.3: chunked must be the last
        (400, head("Transfer-Encoding: ")),
        (400, head("Transfer-Encoding: chunked,")),
        (501, head("Transfer-Encoding: gzip")),
        (501, head("Transfer-Encoding: gzip, chunked")),
        (501, head("Transfer-Encoding: identity")),
        (501, head("Transfer-Encoding: \x85chunked")),
        (400, head("Transfer-Encoding: chunked", first="POST /a HTTP/1.0")),
        (400, head("Content-Length: 1", "Content-Length: 1")),
        (400, head("Content-Length: 1", "content-length: 2")),
        (400, head("Content-Length: 1, 1")),
        (400, head("Content-Length: +1")),
        (400, head("Content-Length: -1")),
        (400, head("Content-Length: 0x1")),
        (400, head("Content-Length: 1_0")),
        (400, head("Content-Length: \xb2")),
        (400, head("Content-Length:")),
        (413, head("Content-Length: 1001")),
        (400, head("Content-Length: " + "9" * 1800)),
        (400, head("Content-Length: " + "0" * 1800)),
    ],
)
def test_doubtful_framing_is_refused(status: int, data: bytes) -> None:
    assert refusal(data) == status


@table(
    ("status", "data"),
    [
        (400, head("Folded: a", " b")),
        (400, head(" a: b")),
        (400, b"\r\n " + head()),
        (400, head("Name : v")),
        (400, head("Na me: v")),
        (400, head(": v")),
        (400, head("Name")),
        (400, head("N\xe4me: v")),
        (400, head("N: a\nM: b")),
        (400, head("N: a\rM: b")),
        (400, head("N: a\0")),
        (400, head("N: a\x7f")),
        (400, head("N: a\x0b")),
        (400, b"GET / HTTP/1.1\nHost: h\n\n"),
        (400, b"\x16\x03\x01\x02\x00"),
        (400, head(host="X: y")),
        (400, head("Host: h")),
        (400, head(host="Host: a, b")),
        (400, head(host="Host: a/b")),
        (400, head(first=" GET / HTTP/1.1")),
        (400, b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (400, head(first="GET  / HTTP/1.1")),
        (400, head(first="GET /a b HTTP/1.1")),
        (400, head(first="GET /\ta HTTP/1.1")),
        (400, head(first="get / HTTP/1.1")),
        (400, head(first="G@T / HTTP/1.1")),
        (400, head(first="GET /")),
        (400, head(first="GET")),
        (400, head(first="GET / http/1.1")),
        (400, head(first="GET / HTTP/11")),
        (400, head(first="GET http://[/ HTTP/1.1")),
        (400, head(first="GET /t/u?#leese=30 HTTP/1.1")),
        (400, head("X:" + " " * 65 + "a")),
        (400, head("X:" + "\t" * 1500 + "\x01")),
        (505, head(first="GET / HTTP/0.9")),
        (505, head(first="GET / HTTP/1.2")),
        (505, head(first="PRI * HTTP/2.0")),
    ],
)
def test_doubtful_heads_are_refused(status: int, data: bytes) -> None:
    assert refusal(data) == status


@table("name", ["Content_Length", "Transfer_Encoding", "content_type", "X_Y"])
def test_names_with_an_underscore_are_dropped(name: str) -> None:
    parser, rest = parse(head(f"{name}: 3") + b"abc")
    assert rest == b"abc"
    assert [key for key in parser.environ if key.startswith(("HTTP_", "CONTENT_"))] == ["HTTP_HOST"]


@table(
    ("version", "options", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "Close", False),
        ("1.1", "keep-alive, CLOSE", False),
        ("1.1", "x-close", True),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_whether_a_connection_goes_on(version: str, options: str, keeps: bool) -> None:
    assert keeps_alive(version, options) is keeps


def test_http_1_0_needs_no_host() -> None:
    assert parse(b"GET / HTTP/1.0\r\n\r\n")[0].version == "1.0"


def test_limits_are_inclusive() -> None:
    target = "/" + "a" * 199
    parse(head(first=f"GET {target} HTTP/1.1"))
    assert refusal(head(first=f"GET {target}a HTTP/1.1")) == 414
    assert refusal(head(first=f"GET {target * 20} HTTP/1.1")) == 414
    filler = "F: " + "f" * (2000 - len(head("F: ")))
    parse(head(filler))
    assert refusal(head(filler + "f")) == 431
    assert refusal(head(*["A: b"] * 300), Limits(max_headers=10**6)) == 400
    parse(head("Content-Length: 1000") + b"b" * 1000)


@table("size", [1, 7, 1000])
def test_a_chunked_body_of_exactly_the_ceiling_is_accepted(size: int) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (b"b" * size,) * (1000 // size))
    last = 1000 % size
    chunks += b"%x\r\n%s\r\n" % (last, b"b" * last) if last else b""
    data = head("Transfer-Encoding: chunked") + chunks
    parser, rest = parse(data + b"0\r\n\r\nGET")
    assert parser.body.take() == b"b" * 1000
    assert rest == b"GET"
    assert refusal(data + b"1\r\nb\r\n") == 413


@table(
    ("status", "body"),
    [
        (413, b"3e9\r\n" + b"b" * 1001),
        (400, b"-1\r\n"),
        (400, b"+1\r\n"),
        (400, b"0x1\r\n"),
        (400, b"1_0\r\n"),
        (400, b" 1\r\n"),
        (400, b"1;\0\r\n"),
        (400, b"1\r\nbb\r\n"),
        (400, b"1\r\nb0\r\n"),
        (400, (b"1;" + b"x" * 900 + b"\r\nb\r\n") * 100),
        (400, b"0\r\nA: " + b"b" * 100_000),
    ],
)
def test_bad_chunks_are_refused(status: int, body: bytes) -> None:
    assert refusal(head("Transfer-Encoding: chunked") + body) == status


def test_a_refused_request_is_not_asked_for_its_body() -> None:
    parser = new_parser()
    feed(parser, head("Content-Length: 1001", "Expect: 100-continue"), 10_000)
    assert parser.error is not None
    assert not parser.expect_continue
