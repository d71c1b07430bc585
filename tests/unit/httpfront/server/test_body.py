"""Chunked bodies: exact framing, bounded lines, and no work that grows with the square of anything."""

from __future__ import annotations

import time

from httpfront.server.body import ChunkedBody
from tests.support.table import table

LIMIT = 1000


def feed(data: bytes, size: int, max_body: int = LIMIT) -> tuple[ChunkedBody, bytes]:
    """A body fed `size` bytes at a time, and what is left behind it."""
    body = ChunkedBody(max_body)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        taken = body.received(piece)
        if body.completed or body.error:
            return body, piece[taken:] + data[start + size :]
        assert taken == len(piece)
    return body, b""


@table(
    "data",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b'2\r\nhe\r\n003;a=b;c="d"\r\nllo\r\n0;x\r\nTrailer: t\r\n\r\n',
        b"2 ; ext\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n000\r\n\r\n",
    ],
)
def test_a_body_is_the_same_in_all_pieces(data: bytes) -> None:
    for size in (1, 2, 3, 7, len(data) + 3):
        body, rest = feed(data + b"GET", size)
        assert body.error is None
        assert body.completed
        assert body.take() == b"hello"
        assert (len(body), rest) == (5, b"GET")


@table(
    ("code", "data"),
    [
        (413, b"3e9\r\n"),
        (413, b"ffffffffffffffff\r\n"),
        (400, b"00000000000000001\r\n"),
        (400, b"-1\r\n"),
        (400, b"0x1\r\n"),
        (400, b"1_0\r\n"),
        (400, b" 1\r\n"),
        (400, b"1 \r\n"),
        (400, b"\r\n"),
        (400, b"1\nb\r\n"),
        (400, b"1\n\r\nb\r\n"),
        (400, b"0\n\r\n\r\n"),
        (400, b"1;a\n\r\nb\r\n"),
        (400, b"1;a\rb\r\n"),
        (400, b"1;\0\r\n"),
        (400, b"1\r\nbb\r\n"),
        (400, b"1\r\nb0\r\n"),
        (400, b"1\r\nb\n"),
        (400, b"1;" + b"x" * 1100),
        (400, b"1;" + b"x" * 1100 + b"\r\n"),
        (400, (b"1;" + b"x" * 900 + b"\r\nb\r\n") * 100),
        (400, b"0\r\nNo Trailer\r\n\r\n"),
        (400, b"0\r\nA : b\r\n\r\n"),
        (400, b"0\r\n\n"),
        (400, b"0\r\nA: " + b"b" * 1100),
        (431, b"0\r\n" + b"A: b\r\n" * 2000),
    ],
)
def test_bad_framing_is_refused(code: int, data: bytes) -> None:
    for size in (len(data), 1):
        body, _ = feed(data, size)
        assert body.error is not None, "accepted"
        assert body.error.code == code
        assert not body.completed


@table("size", [1, 7, 1000])
def test_the_ceiling_is_inclusive_whatever_the_chunks(size: int) -> None:
    content = bytes(n % 251 for n in range(LIMIT))
    chunks = [content[n : n + size] for n in range(0, LIMIT, size)]
    data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body, _ = feed(data + b"0\r\n\r\n", 100)
    assert body.take() == content
    over, _ = feed(data + b"1\r\nb\r\n", 100)
    assert over.error is not None
    assert over.error.code == 413


def test_a_line_without_an_end_is_refused_early() -> None:
    content = b"%x\r\n" % (1 << 20) + b"x" * (1 << 20) + b"\r\n"
    for endless in (b"1;", b"0\r\nA: "):
        body, rest = feed(content + endless + b"a" * (1 << 22), 65536, 1 << 20)
        assert body.error is not None
        assert len(rest) > (1 << 22) - 65536 * 2


def test_a_mebibyte_of_one_byte_chunks_takes_seconds_not_minutes() -> None:
    began = time.process_time()
    body, _ = feed(b"1\r\nb\r\n" * (1 << 20), 65536, 1 << 20)
    assert body.error is None
    assert len(body) == 1 << 20
    assert time.process_time() - began < 20
