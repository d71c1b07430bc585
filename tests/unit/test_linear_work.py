"""Whatever a client or a peer sends: four times the bytes take about four times the work, in every parser.

The one module that looks at time: processor time of this thread, the best of five, with a margin that only work which
grows faster than its input goes over.
"""

from __future__ import annotations

import gzip
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from struct import pack
from typing import Any

import falcon
import pytest
from falcon.testing import create_environ

from broker.state.topic_settings import parse_rules
from common.errors import FanmailError
from common.keys.access_rules import PUBLISH, parse_rule
from common.names import parse_name
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.units import size
from httpfront.admin.documents import read_cursor
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.batch import as_ndjson, choose_format, read_batch
from httpfront.formats.coding import check_lines, decoded
from httpfront.formats.idempotency import read_key
from httpfront.formats.params import cursor, duration, number, read_parameters, span
from httpfront.formats.paths import raw_path
from httpfront.formats.receipts import are_receipts, parse_receipt, read_receipts
from httpfront.middleware.auth import UnauthenticatedError, find_token
from httpfront.middleware.host_names import HostNames
from httpfront.middleware.request_id import trace_id
from httpfront.server.response import keeps_alive
from tests.unit.httpfront.server import test_body, test_parser
from tests.unit.httpfront.server.test_parser import Limits, new_parser

Parse = Callable[[Any], object]
Make = Callable[[int], Any]
"""A hostile input of about the given number of bytes."""

TRIES, RUNS, MARGIN, FLOOR = 4, 3, 3, 0.002
"""Measurements; runs of one; times what linear work would take; seconds, which a clock and a collector may add."""
HEAD, LINE_ENDS, BODY = 2 * 1024, 8 * 1024, 64 * 1024
"""The least bytes of an input: of a part of a head, of what becomes an object a byte, of other bodies and frames."""
PLENTY = 2**40
ROOMY = Limits(max_body=PLENTY, max_headers=PLENTY, max_target=PLENTY)


def check_linear(parse: Parse, make: Make, length: int) -> None:
    """AssertionError where 4 or 16 times the input take far more than that, whenever it is measured."""
    for factor in (4, 16):
        data = make(factor * length)
        linear = any(_least(parse, data) <= factor * MARGIN * _least(parse, make(length)) + FLOOR for _ in range(TRIES))
        assert linear, f"{make(8)!r} times {factor}"


def _least(parse: Parse, data: Any) -> float:
    return min(_time(parse, data) for _ in range(RUNS))


def _time(parse: Parse, data: Any) -> float:
    began = time.thread_time()  # what other tests have left running does not count
    with suppress(
        FanmailError, UnauthenticatedError, ValueError, wire.WireError
    ):  # whatever is refused is looked at first
        parse(data)
    return time.thread_time() - began


def text(before: str, unit: str, after: str = "") -> Make:
    return lambda length: before + unit * (length // len(unit)) + after


def raw(before: bytes, unit: bytes, after: bytes = b"") -> Make:
    return lambda length: before + unit * (length // len(unit)) + after


# --- parts of a head

UNITS = (
    *('\\"', '"', '"\\', ',"', ",", ";", "=", " ", " \t", ":", "-", ".", "/", "%", "&", "+", "[", "*", "{"),
    *("a", "0", "9", "\xff", "a,", "a;", "a=", "a/", "%41", "%zz", "1.", ",q=", "a;q=0,", 'wait="'),
)
STARTS = ("", '"', "/", "wait=", 'a/b;charset="', "Bearer ", "gzip,", "00-" + "a" * 32, "abc1-", "1.")
ENDS = ("", "\n", '"x')

poll = LongPoll(None, 30, 1)  # type: ignore[arg-type]
(topic_rule,) = parse_rules([{"pattern": "*a*0*[a-z]*?9*b"}])
rule = parse_rule({"rights": [PUBLISH], "topic": "*{sub}*a?*{sub}*b"}, "a", allows=True)


def query(given: str) -> object:
    """As Falcon reads it, too."""
    return read_parameters(falcon.Request(create_environ(query_string=given)), {"max": number(5)})


def preferred(given: str) -> object:
    return poll.preferred(falcon.Request(create_environ(headers={"Prefer": given})))


OF_A_HEAD: dict[str, Parse] = {
    "Prefer": preferred,
    "Accept": choose_format,
    "Content-Type": lambda given: check_lines(b"", given),
    "Content-Encoding": lambda given: decoded(b"", given, 1, lambda: None),
    "Last-Event-ID": cursor,
    "Idempotency-Key": read_key,
    "traceparent": trace_id,
    "Authorization": find_token,
    "Host": HostNames(["127.0.0.1"], (), keys=False).allows,
    "Connection": lambda given: keeps_alive("1.1", given),
    "target": raw_path,
    "name": lambda given: parse_name(given, "topic", 255),
    "query": query,
    "cursor of a listing": read_cursor,
    "receipt": parse_receipt,
    "span": span(1, 10, 1),
    "duration": duration(10),
    "number": number(10),
    "size": size(1, 10),
    "pattern of topics": topic_rule.fits,
    "pattern of a key": lambda given: rule.covers(PUBLISH, given, ""),
}


@pytest.mark.parametrize("name", OF_A_HEAD)
def test_a_part_of_a_head_costs_linear_work(name: str) -> None:
    for before, after in zip(STARTS, ENDS * len(STARTS), strict=False):
        for unit in UNITS:
            check_linear(OF_A_HEAD[name], text(before, unit, after), HEAD)


# --- whole heads, bodies and frames


def requests(data: bytes) -> None:
    """As a connection reads one after another."""
    parser = new_parser(ROOMY)
    while data:
        data = data[parser.received(data) :]
        if parser.completed:
            parser = new_parser(ROOMY)


def head(data: bytes) -> None:
    test_parser.feed(new_parser(ROOMY), data, len(data))


def head_in_bytes(data: bytes) -> None:
    test_parser.feed(new_parser(ROOMY), data, 1)


_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
HEADS = (
    raw(_GET + b"X:", b"a", b"\r\n\r\n"),
    raw(_GET + b"X:", b"a" + b" " * 60, b"\x7f\r\n\r\n"),
    raw(_GET + b"X:", b" ", b"\r\n\r\n"),
    raw(_GET, b"X: a\r\n", b"\r\n"),
    raw(_GET, b"Host: a\r\n", b"\r\n"),
    raw(_GET + b"Content-Length: ", b"0", b"x\r\n\r\n"),
    raw(_GET + b"Content-Length: ", b"9", b"\r\n\r\n"),
    raw(_GET + b"Transfer-Encoding: ", b"chunked,", b"\r\n\r\n"),
    raw(b"GET /?", b"a&", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw(b"GET http://", b"a:@[", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw(b"", b"\r\n", _GET + b"\r\n"),
    raw(b"", b"\r", b"\n"),
    raw(b"", b"a "),
)


def chunked(data: bytes) -> None:
    test_body.feed(data, 64 * 1024, PLENTY)


def chunked_in_bytes(data: bytes) -> None:
    test_body.feed(data, 1, PLENTY)


CHUNKS = (
    raw(b"", b"1\r\nx\r\n"),
    raw(b"ffffffffff\r\n", b"x"),
    raw(b"", b"1" + b" ;" * 500 + b"\r\nx\r\n"),
    raw(b"0\r\n", b"a: b\r\n"),
    raw(b"1", b";"),
    raw(b"", b"0"),
)


def batch_of(form: str, most: int) -> Parse:
    return lambda data: read_batch(form, data, PLENTY, most)


def gunzipped(data: bytes) -> None:
    decoded(data, "gzip", PLENTY, lambda: None, max_members=PLENTY)


def stored_blocks(length: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH) + b"\0\0\0\xff\xff" * (length // 5)


def listed(data: bytes) -> None:
    frames = b"".join(pack(">I", len(each)) + each for each in data.split(b"\n"))
    as_ndjson(ops.Batch("e", 0, [ops.Run(1, 1, 0, b"", frames)]), leased=True)


def finish(data: bytes) -> None:
    wire.unpack_args(wire.Request(1, Op.FINISH, b"t", b"u", 0, wire.Raw(data)))


def array_of(unit: bytes, before: bytes = b"") -> Make:
    """A MessagePack array of as many as it says."""
    return lambda length: before + b"\xdd" + pack(">I", length // len(unit)) + unit * (length // len(unit))


_REQUEST = wire.pack_request(5, Op.TAKE, b"t", b"u", 0, ops.Take())
FRAMES = (
    raw(b"\x94\x01\x4d\x01", b"\x91"),
    array_of(b"\xc0", b"\x94\x01\x4d\x01"),
    array_of(b"\x90", b"\x94"),
    array_of(_REQUEST, b"\x94\x01\x4d\x01"),
    array_of(wire.pack_reply(5, None), b"\x96\x01\x4d\x01\x01\x01"),
    raw(b"\x81", b"\x81\x01"),
)
LINES = (
    raw(b"", b"\n"),
    raw(b"", b"a"),
    raw(b"", b"a\n"),
    raw(b"", b"\r\n"),
    raw(b"", b"abc-1.1\n"),
    raw(b"", b"\x01"),
)
LENGTHS = (raw(b"", b"\0"), raw(b"", b"\0\0\0\1a"), raw(b"\x7f", b"\xff"))
ZIPPED = (
    raw(b"", gzip.compress(b"")),
    raw(b"", gzip.compress(b"a" * 1000)),
    raw(gzip.compress(b""), b"\0"),
    stored_blocks,
    lambda length: gzip.compress(bytes(length)),
    lambda length: gzip.compress(bytes(range(256)) * (length // 256), 0),
)

BODIES: dict[str, tuple[Parse, tuple[Make, ...], int]] = {
    "head": (head, HEADS, HEAD),
    "head, byte by byte": (head_in_bytes, HEADS, HEAD),
    "requests behind each other": (requests, (raw(b"", b"\r\n"), raw(b"\r\n", _GET + b"\r\n"), raw(b"", b"\n")), HEAD),
    "chunks": (chunked, CHUNKS, BODY),
    "chunks, byte by byte": (chunked_in_bytes, CHUNKS, HEAD),
    "lines": (batch_of("lines", PLENTY), LINES, LINE_ENDS),
    "lines, refused": (batch_of("lines", 3), LINES, BODY),
    "frames": (batch_of("frames", PLENTY), LENGTHS, LINE_ENDS),
    "frames, refused": (batch_of("frames", 3), LENGTHS, BODY),
    "receipts": (lambda data: read_receipts(data, PLENTY), LINES, BODY),
    "receipts of a session": (lambda data: are_receipts(data.decode("latin-1").split("\n")), LINES, BODY),
    "gzip": (gunzipped, ZIPPED, BODY),
    "NDJSON": (listed, LINES, LINE_ENDS),
    "requests of a front": (lambda data: wire.unpack_requests([data]), FRAMES, BODY),
    "replies of a broker": (lambda data: wire.unpack_replies([data]), FRAMES, BODY),
    "arguments of an operation": (finish, (array_of(wire._encode(["", 1, 1]), b"\x91"), *FRAMES), BODY),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_or_frame_costs_linear_work(name: str) -> None:
    parse, makes, length = BODIES[name]
    for make in makes:
        check_linear(parse, make, length)


# --- the negative controls: what is quadratic is found


def behind_each_line(data: bytes) -> None:
    """Copy what is left per line: few and long ones, so that copying takes far longer than anything else."""
    while data:
        data = data.partition(b"\n")[2]


@pytest.mark.parametrize(
    ("parse", "make", "length"),
    [
        (re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+').findall, text("", '\\"'), HEAD // 16),
        (re.compile(r" *,").search, text("", " "), HEAD // 4),
        (behind_each_line, raw(b"", b"a" * 511 + b"\n"), 3 * BODY // 2),
    ],
)
def test_quadratic_work_is_found(parse: Parse, make: Make, length: int) -> None:
    with pytest.raises(AssertionError, match="times"):
        check_linear(parse, make, length)


# --- counted before anything is made


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most bytes that were held at a time since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


MILLIONS = 4 * 1024 * 1024
COUNTED: dict[str, tuple[Parse, Make]] = {
    "lines": (batch_of("lines", 1000), raw(b"", b"\n")),
    "frames": (batch_of("frames", 1000), raw(b"", b"\0")),
    "receipts": (lambda data: read_receipts(data, 1000), raw(b"", b"\n")),
    "gzip members": (lambda data: decoded(data, "gzip", PLENTY, lambda: None), raw(b"", gzip.compress(b""))),
    "elements of Accept": (choose_format, text("", "a,")),
    "elements of Prefer": (preferred, text("", "a,")),
    "requests": (lambda data: wire.unpack_requests([data]), array_of(_REQUEST, b"\x94\x01\x4d\x01")),
    "what is no request": (lambda data: wire.unpack_requests([data]), array_of(b"\x90", b"\x94\x01\x4d\x01")),
    "what is no frame": (lambda data: wire.unpack_requests([data]), array_of(b"\x90", b"\x94")),
    "replies": (
        lambda data: wire.unpack_replies([data]),
        array_of(wire.pack_reply(5, None), b"\x96\x01\x4d\x01\x01\x01"),
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_millions_are_refused_before_a_list_of_them_is_made(name: str, peak: Callable[[], int]) -> None:
    parse, make = COUNTED[name]
    data = make(MILLIONS)
    before = peak()
    with suppress(FanmailError, wire.WireError):
        parse(data)
    assert peak() - before < MILLIONS / 4


def test_a_list_of_millions_is_found(peak: Callable[[], int]) -> None:
    data = b"\n" * MILLIONS
    before = peak()
    assert len(data.split(b"\n")) > MILLIONS
    assert peak() - before > MILLIONS / 4
