"""Valid topic and user names (`docs/http-api.md`).

A name is bytes: valid UTF-8 of 1 to `limit` bytes without control characters, not `.` or `..`. Names are compared
byte by byte, without folding, normalisation or truncation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from common.errors import FanmailError

MAX_NAME = 1024
"""Upper bound of the setting `max_name`, bytes: every record of a topic contains its name."""

# The common case: a raw segment of unreserved and harmless characters needs no decoding.
_PLAIN = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_~!$&'()*+,;=:@.-]*").fullmatch
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search


@lru_cache(maxsize=1024)
def parse_name(segment: str, kind: str, limit: int) -> bytes:
    """Return the name in a raw path segment, percent-decoded exactly once.

    `segment` is the segment of the request line, as latin-1 text; `kind` ("topic", "user") is for the error
    message. Raises `FanmailError("bad-name")`.
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
    """Raise `FanmailError("bad-name")` unless this is a valid name of any length."""
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
