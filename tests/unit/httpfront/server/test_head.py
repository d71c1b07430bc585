"""Heads that are kept, and heads that are garbled: what is accepted here, waitress reads in the same way."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from httpfront.server.body import Refusal
from httpfront.server.fields import FieldReader
from httpfront.server.head import CACHED_BYTES, CACHED_FIELDS, CACHED_LINE, Fields, HeadReader
from httpfront.server.parser import RequestParser
from tests.unit.httpfront.server.test_parser import LIMITS, Limits, feed, head

HEADS = (
    b"GET /a/b?x=1 HTTP/1.1\r\nHost: h:1\r\nUser-Agent: curl\r\nAccept: */*\r\n\r\n",
    b"POST /t HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nMeta-A: b\r\n\r\nhello",
    b"POST /t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\r\n\r\nDELETE /%2F/%FF HTTP/1.0\r\nConnection: keep-alive\r\nX_Y: 1\r\nA: 1\r\nA: 2\r\n\r\n",
    b"GET http://h/a?b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nCookie: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nTE: a\r\nEmpty:\r\nB: \xe4 \t\r\n\r\n",
    b"PROPFIND //a//b HTTP/1.1\r\nHost:h\r\nContent-Length: 0\r\nAuthorization: Bearer x\r\n\r\n",
)
PIECES = (
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\r\n ", b"\x85", b"\xff", b"\x7f", b"\x0b", b"0", b"_", b","),
    *(b"9" * 20, b"\r\n\r\n", b";", b"#", b"%", b"?", b"chunked", b"HTTP/1.0", b"HTTP/2.0", b"Host: x\r\n"),
    *(b"Content-Length: 3\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Type: a\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
)


def mutant(chance: random.Random) -> bytes:
    """Return one of the heads with some bytes changed, taken out, doubled or put in."""
    data = bytearray(chance.choice(HEADS))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        at = chance.randrange(len(data) + 1)
        upto = min(len(data), at + chance.randrange(1, 20))
        kind = chance.randrange(4)
        if kind == 0:
            data[at : at + 1] = bytes((chance.randrange(256),))
        elif kind == 1:
            data[at:at] = chance.choice(PIECES)
        elif kind == 2:
            del data[at:upto]
        else:
            data[at:at] = data[at:upto]
    return bytes(data)


def read(data: bytes, size: int) -> tuple[RequestParser, bytes]:
    parser = RequestParser(HeadReader(LIMITS, FieldReader()))
    return parser, feed(parser, data, size)


def outcome(parser: RequestParser) -> int:
    """Return the status that the request is refused with, 0 for none."""
    return parser.error.code if parser.error else 0


def test_mutants_that_are_accepted_are_read_as_waitress_reads_them(everything: bool) -> None:
    """And in pieces as in one. What waitress accepts may be refused here, never the other way round."""
    chance = random.Random(1)
    adjustments = Adjustments(max_request_header_size=LIMITS.max_headers + 1, max_request_body_size=sys.maxsize)
    accepted = 0
    for _ in range(10_000 if everything else 1_000):
        data = mutant(chance)
        parser, rest = read(data, len(data) or 1)
        piecewise, rest_piecewise = read(data, 1)
        assert (parser.completed, outcome(parser)) == (piecewise.completed, outcome(piecewise)), data
        if not parser.completed or parser.error is not None:
            continue
        assert (rest, parser.environ) == (rest_piecewise, piecewise.environ), data
        accepted += 1
        oracle = HTTPRequestParser(adjustments)
        request = data[: len(data) - len(rest)].lstrip(b"\r\n")
        while request and not oracle.completed:
            request = request[oracle.received(request) :]
        assert oracle.error is None, data
        assert (parser.command, parser.version) == (oracle.command, oracle.version), data
        assert parser.environ["REQUEST_URI"] == oracle.request_uri, data
        assert parser.environ["QUERY_STRING"] == oracle.query, data
        assert parser.expect_continue == oracle.expect_continue, data
        theirs = {key: value for key, value in oracle.headers.items() if key != "CONTENT_LENGTH" or value}
        ours = {key.removeprefix("HTTP_"): value for key, value in parser.environ.items()}
        assert theirs.items() <= ours.items(), data
        body = parser.body.take() if parser.body_rcv is not None else b""
        assert body == oracle.get_body_stream().read(), data
    assert accepted > 100, "the control"


def fields_of(reader: HeadReader, head: bytes) -> Fields:
    read = reader.read(head)
    assert not isinstance(read, Refusal)
    return read[2]


def test_fields_that_were_read_before_are_not_read_again_whatever_the_target_is() -> None:
    reader = HeadReader(LIMITS, FieldReader(), cached=3)
    heads = [HEADS[0].replace(b"h:1", b"h:%d" % number) for number in range(4)]
    first = [[fields_of(reader, head) for _ in range(2)][1] for head in heads]
    again = [fields_of(reader, head.replace(b"/a/b", b"/c")) for head in (heads[3], heads[2], heads[1], heads[0])]
    assert [new is old for new, old in zip(again, reversed(first), strict=True)] == [True, True, True, False]
    assert again[3] == first[0]


def test_fields_that_come_once_push_out_no_others() -> None:
    reader = HeadReader(LIMITS, FieldReader(), cached=3)
    usual = [fields_of(reader, HEADS[0]) for _ in range(2)][1]
    for number in range(20):
        fields_of(reader, HEADS[0].replace(b"h:1", b"h:%d" % (10 + number)))
    assert fields_of(reader, HEADS[0]) is usual
    assert len(reader._came) <= 3


def test_what_is_refused_or_long_is_not_kept() -> None:
    reader = HeadReader(LIMITS, FieldReader())
    refused = b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"
    assert reader.read(refused) is not reader.read(refused)
    long = b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * CACHED_BYTES + b"\r\n\r\n"
    fields_of(reader, long)
    assert fields_of(reader, long) is not fields_of(reader, long)
    many = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * CACHED_FIELDS + b"\r\n"
    fields_of(reader, many)
    assert fields_of(reader, many) is not fields_of(reader, many)


def test_request_lines_that_are_kept_are_few_short_and_right() -> None:
    """The second reading is that of the first, and no client can fill the memory with lines."""
    reader = HeadReader(LIMITS, FieldReader(), cached=3)
    block = b"Host: h\r\n\r\n"
    for line, path in ((b"GET /a?b=c HTTP/1.1\r\n", "/a"), (b"POST //b HTTP/1.1\r\n", "/b")):
        first, second = reader.read(line + block), reader.read(line + block)
        assert not isinstance(first, Refusal)
        assert not isinstance(second, Refusal)
        assert first[1] is second[1]
        assert first[0] == second[0]
        assert first[0]["PATH_INFO"] == path
    for number in range(10):
        reader.read(b"GET /%d HTTP/1.1\r\n" % number + block)
        reader.read(b"GET /" + b"a" * (CACHED_LINE + number) + b" HTTP/1.1\r\n" + block)
        reader.read(b"GET ?%d HTTP/1.1 \r\n" % number + block)
    assert len(reader._lines) <= 3
    assert max(map(len, reader._lines)) <= CACHED_LINE
    refused = b"GET / HTTP/3.0\r\n"
    assert [outcome(read(refused + block, size)[0]) for size in (1, 99)] == [505, 505]


def test_a_length_of_thousands_of_digits_is_refused() -> None:
    """Python itself refuses to convert over 4,300 (sys.int_info)."""

    @dataclass(frozen=True)
    class Roomy(Limits):
        max_headers: int = 100_000

    for digits in ("0" * 19, "0" * 4301, "9" * 4301, "0" * 50_000):
        read = HeadReader(Roomy(), FieldReader()).read(head(f"Content-Length: {digits}"))
        assert isinstance(read, Refusal)
        assert read.code == 400


def test_requests_with_the_same_fields_share_nothing_that_changes() -> None:
    reader = HeadReader(LIMITS, FieldReader(), {"a": 1})
    one, other = RequestParser(reader), RequestParser(reader)
    one.received(HEADS[0])
    one.environ["fanmail.route"] = "x"
    other.received(HEADS[0])
    assert "fanmail.route" not in other.environ
    assert other.environ["HTTP_USER_AGENT"] == "curl"


def test_the_version_counts_beside_fields_that_are_known() -> None:
    """The same fields may be right with one version and wrong with another."""
    reader = HeadReader(LIMITS, FieldReader())
    expects = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    for request, code in (
        (b"GET / HTTP/1.0\r\nA: b\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 0),
        (b"GET / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 505),
        (expects, 0),
        (expects.replace(b"1.1", b"1.0"), 0),
    ):
        parser = RequestParser(reader)
        parser.received(request)
        assert outcome(parser) == code, request
        assert parser.expect_continue is (request is expects)
