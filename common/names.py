"""Legal topic and user names (`docs/http-api.md`).

A name is bytes: valid UTF-8 of 1 to `limit` bytes without control characters, not `.` or `..`. It is compared
byte for byte; nothing is folded, normalised, cut or replaced.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from common.errors import FanmailError

MAX_NAME = 1024
"""No setting goes above this many bytes: a name travels and is stored in every record of its topic."""

# One pattern for the usual case: a raw segment of unreserved and harmless characters needs no decoding.
_PLAIN = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_~!$&'()*+,;=:@.-]*").fullmatch
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search


def parse_name(segment: str, kind: str, limit: int) -> bytes:
    """The name that one raw path segment spells, percent-decoded exactly once.

    `segment` is the segment as it stood in the request line, as latin-1 text; `kind` ("topic", "user") is
    for the message. Raises `FanmailError("bad-name")`.
    """
    if _PLAIN(segment):
        name = segment.encode()
    else:
        raw = segment.encode("latin-1")
        if _BROKEN_ESCAPE(raw):
            raise FanmailError("bad-name", f"the {kind} name has a '%' without two hexadecimal digits")
        name = unquote_to_bytes(raw)
        check_name(name, kind)
    if len(name) > limit:
        raise FanmailError("bad-name", f"the {kind} name has {len(name)} bytes, at most {limit} are allowed")
    return name


def check_name(name: bytes, kind: str) -> None:
    """Whatever its length, is it a name? Raises `FanmailError("bad-name")`."""
    if not name:
        raise FanmailError("bad-name", f"the {kind} name is empty")
    if name in (b".", b".."):
        raise FanmailError("bad-name", f"the {kind} name is '{name.decode()}'")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FanmailError("bad-name", f"the {kind} name is not valid UTF-8 at byte {error.start}") from None
    control = _CONTROL(text)
    if control:
        raise FanmailError("bad-name", f"the {kind} name has the control character U+{ord(control[0]):04X}")
