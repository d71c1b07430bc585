"""Content codings and charsets of a body that is split here: a batch, or a list of receipts. No I/O here.

Its `Content-Encoding` is decoded (RFC 9110, section 8.4), and a charset in which the byte 0x0A may be part of a
character is refused. A body that is one message is never looked at.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator

from common.errors import FanmailError
from httpfront.formats.header_lists import elements, parameters

ACCEPTED = "gzip, deflate"
"""The codings that are decoded, as a header names them."""
MAX_MEMBERS = 1000
"""Members of a gzip body (RFC 1952, section 2.2): each costs time however little is in it."""
PIECE = 16 * 1024
"""Bytes that zlib gets at a time: what is behind the end of a member is copied for each member."""
PIECES_PER_TURN = 8
"""Data can be made so that its code tables take most of the time: 0.8 s for 8 MiB. Others get a turn between."""

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_WIDE_CHARSET = re.compile(
    r"(cs)?(u(tf)?(16|32)|ucs[24]|iso10646|unicode(?!11)|ebcdic"
    r"|(ibm|cp|ccsid)0*(37|27[3-8]|28[0145]|29[07]|42[034]|500|87[015]|880|905|918|924|1026|1047|114[0-9])$)"
).match
"""UTF-16, UTF-32 and EBCDIC, in lower case, letters and digits only."""
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
"""The byte order marks of UTF-16 and UTF-32."""


def decoded(
    body: bytes,
    codings: str,
    most: int,
    yield_turn: Callable[[], None],
    max_members: int = MAX_MEMBERS,
    piece: int = PIECE,
) -> bytes:
    """Return the body without the coding that a `Content-Encoding` names; at most `most` bytes.

    Calls `yield_turn` now and then. Raises `unsupported-coding`, `body-too-large`, and `bad-batch` where the body is
    not valid or not complete.
    """
    named = [each for each in elements(codings.lower()) if each != "identity"]
    if not named:
        return body
    if len(named) > 1 or named[0] not in _WINDOW_BITS:
        raise FanmailError(
            "unsupported-coding", f"header Content-Encoding of a body that is split must be one of {ACCEPTED}, or none"
        )
    return b"".join(_inflated(_pieces(body, piece, yield_turn), named[0], most, max_members))


def _pieces(body: bytes, piece: int, yield_turn: Callable[[], None]) -> Iterator[bytes]:
    for number, at in enumerate(range(0, len(body), piece), 1):
        yield body[at : at + piece]
        if number % PIECES_PER_TURN == 0:
            yield_turn()


def _inflated(pieces: Iterator[bytes], coding: str, most: int, max_members: int) -> Iterator[bytes]:
    stream, members = None, 0
    room = most + 1  # one byte more shows that it is too much
    for piece in pieces:
        data = piece
        while data:
            if stream is None:
                members += 1
                _check_members(members, coding, max_members)
                stream = zlib.decompressobj(_WINDOW_BITS[coding])
            try:
                part = stream.decompress(data, room)
            except zlib.error:
                raise FanmailError("bad-batch", f"the body is not valid {coding}") from None
            room -= len(part)
            if not room:
                raise FanmailError("body-too-large", f"the decoded body has over {most} bytes")
            yield part
            data = stream.unused_data
            if stream.eof:
                stream = None
    if stream is not None or not members:
        raise FanmailError("bad-batch", f"the {coding} data is truncated")


def _check_members(members: int, coding: str, most: int) -> None:
    if coding == "deflate" and members > 1:
        raise FanmailError("bad-batch", "the body has data after the end of its deflate data")
    if members > most:
        raise FanmailError("bad-batch", f"the body has over {most} gzip members")


def check_lines(body: bytes, content_type: str) -> None:
    """Check that the body can be split at its line ends.

    Raises `unsupported-charset` where its type or its first bytes say that it is UTF-16, UTF-32 or EBCDIC.
    """
    for name, value in parameters(content_type)[1:]:
        if name == "charset" and _WIDE_CHARSET(re.sub(r"[^a-z0-9]", "", value.lower())):
            shown = ascii(value[:40])[1:-1]
            raise FanmailError(
                "unsupported-charset", f"header Content-Type: charset {shown} cannot be split into lines"
            )
    if body.startswith(_WIDE_MARKS):
        raise FanmailError("unsupported-charset", "the body begins with the byte order mark of UTF-16 or UTF-32")
