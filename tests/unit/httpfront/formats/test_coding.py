"""Codings of a body that is cut into pieces: undone exactly, bounded, or refused."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from httpfront.formats.coding import PIECE, PIECES_PER_TURN, check_lines, decoded
from tests.support.table import table

PLENTY = 10**6
PLAIN = b"".join(b"line %d\n" % number for number in range(300))


def undone(body: bytes, codings: str, most: int = PLENTY) -> bytes:
    """The same in large pieces and in small ones."""
    whole = decoded(body, codings, most, lambda: None, max_members=3)
    assert decoded(body, codings, most, lambda: None, max_members=3, piece=3) == whole
    return whole


def refusal(body: bytes, codings: str, most: int = PLENTY) -> tuple[str, str]:
    """Code and detail, the same in large pieces and in small ones."""
    seen = set()
    for piece in (3, PIECE):
        with pytest.raises(FanmailError) as caught:
            decoded(body, codings, most, lambda: None, max_members=3, piece=piece)
        seen.add((caught.value.code, caught.value.detail))
    assert len(seen) == 1
    return seen.pop()


@table("codings", ["gzip", "x-gzip", "GZip", " gzip ", "identity, gzip", ",gzip,"])
def test_gzip_is_undone(codings: str) -> None:
    assert undone(gzip.compress(PLAIN), codings) == PLAIN


@table("codings", ["deflate", "Deflate"])
def test_deflate_is_undone(codings: str) -> None:
    assert undone(zlib.compress(PLAIN), codings) == PLAIN


@table("codings", ["", "identity", "Identity, identity", ",", " "])
def test_without_a_coding_the_body_is_what_it_is(codings: str) -> None:
    body = gzip.compress(PLAIN)
    assert undone(body, codings) is body


@table("codings", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "*", "gzip;q=1", '"gzip"'])
def test_another_coding_is_refused_and_says_which_are_not(codings: str) -> None:
    code, detail = refusal(gzip.compress(PLAIN), codings)
    assert (code, "one of gzip, deflate" in detail) == ("unsupported-coding", True)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=3))
def test_the_members_of_a_gzip_body_are_one_body(members: list[bytes]) -> None:
    assert undone(b"".join(map(gzip.compress, members)), "gzip") == b"".join(members)


def test_members_are_counted() -> None:
    assert refusal(gzip.compress(b"") * 4, "gzip") == ("bad-batch", "the body has over 3 gzip members")


@table("coding", ["gzip", "deflate"])
def test_a_body_that_is_not_whole_is_refused_wherever_it_ends(coding: str) -> None:
    body = gzip.compress(PLAIN) if coding == "gzip" else zlib.compress(PLAIN)
    for end in (0, 1, 5, len(body) // 2, len(body) - 5, len(body) - 1):
        assert refusal(body[:end], coding) == ("bad-batch", f"the {coding} data is truncated")


@table(
    ("body", "coding"),
    [
        (PLAIN, "gzip"),
        (PLAIN, "deflate"),
        (zlib.compress(PLAIN), "gzip"),
        (gzip.compress(PLAIN), "deflate"),
        (zlib.compress(PLAIN)[2:-4], "deflate"),
        (gzip.compress(PLAIN)[:-8] + bytes(8), "gzip"),
        (gzip.compress(PLAIN) + b"\0", "gzip"),
        (gzip.compress(PLAIN) + b"\nmore", "gzip"),
        (zlib.compress(PLAIN) + b"\n", "deflate"),
        (zlib.compress(PLAIN) * 2, "deflate"),
    ],
)
def test_what_is_not_of_its_coding_is_refused(body: bytes, coding: str) -> None:
    assert refusal(body + b"x" * 20, coding)[0] == "bad-batch"


@table("coding", ["gzip", "deflate"])
def test_the_ceiling_is_of_the_decoded_bytes(coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zlib.compress
    assert undone(compress(bytes(1000)), coding, most=1000) == bytes(1000)
    assert refusal(compress(bytes(1001)), coding, most=1000) == (
        "body-too-large",
        "the decoded body has over 1000 bytes",
    )
    assert refusal(gzip.compress(bytes(600)) * 2, "gzip", most=1000)[0] == "body-too-large"


def test_a_bomb_takes_no_more_memory_than_the_ceiling() -> None:
    bomb = gzip.compress(bytes(64 * 2**20))
    assert len(bomb) < 2**17
    tracemalloc.start()
    try:
        refusal(bomb, "gzip")
        assert tracemalloc.get_traced_memory()[1] < 4 * PLENTY
    finally:
        tracemalloc.stop()


def test_others_have_their_turn_while_a_long_body_is_decoded() -> None:
    turns: list[None] = []
    body = gzip.compress(bytes(range(256)) * 100, 0)
    decoded(body, "gzip", PLENTY, lambda: turns.append(None), piece=3)
    assert len(turns) == len(body) // 3 // PIECES_PER_TURN


# --- charsets


@table(
    "charset",
    [
        *(
            "utf-16",
            "UTF-16LE",
            "utf_16be",
            "utf16",
            "utf-32",
            "UTF-32BE",
            "ucs-2",
            "ISO-10646-UCS-2",
            "ISO-10646-UCS-4",
        ),
        *(
            "csUnicode",
            "csUTF16",
            "unicode",
            "u16",
            "ibm037",
            "cp500",
            "IBM01140",
            "EBCDIC-CP-US",
            '"utf-16"',
            '"u\\tf-16"',
        ),
    ],
)
@table("form", ["text/plain; charset={}", 'a/b;x=";";\tCharset = {} ;y', "; charset={}"])
def test_lines_are_not_cut_where_the_byte_of_a_line_end_is_a_part_of_others(charset: str, form: str) -> None:
    with pytest.raises(FanmailError, match="unsupported-charset: header Content-Type: charset"):
        check_lines(b"a\n", form.format(charset))


@table(
    "content_type",
    [
        *(
            "",
            "text/plain",
            "text/plain; charset=utf-8",
            "text/plain;charset=iso-8859-1",
            "text/plain; charset=shift_jis",
        ),
        *(
            "text/plain; charset=cp1252",
            "text/plain; charset=ibm850",
            'text/plain; x="; charset=utf-16"',
            "a; nocharset=utf-16",
        ),
        *("text/plain; charset=unicode-1-1-utf-7", "text/plain; charset=", "text/plain; charset=cp4370", "utf-16"),
    ],
)
def test_other_lines_are_cut(content_type: str) -> None:
    check_lines(b"a\n", content_type)


@table("codec", ["utf-16", "utf-32", "utf-16-be", "utf-32-be"])
def test_a_byte_order_mark_says_it_too(codec: str) -> None:
    with pytest.raises(FanmailError, match="unsupported-charset: the body begins with the byte order mark"):
        check_lines("\ufeffa\n".encode(codec), "text/plain")


def test_other_bytes_at_the_beginning_say_nothing() -> None:
    for body in (b"", b"\xff", b"\xff\n\xfe", b"\xef\xbb\xbfa\n", b"\0\0\0a\n"):
        check_lines(body, "text/plain")
