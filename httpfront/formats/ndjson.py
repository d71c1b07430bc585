"""Messages as JSON, one object per line (`docs/http-api.md`). No I/O here."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from httpfront.formats.metadata import CACHED_BYTES, rfc3339, unpack_headers
from httpfront.hub import yield_turn

NDJSON = "application/x-ndjson"

BYTES_PER_TURN = 1024 * 1024
"""Bytes rendered before others get their turn. One byte of a body may become six of JSON."""
LARGE_BODY = 64 * 1024
"""Bytes above which a body whose JSON would be longer than base64 is base64: one byte of text may become six."""
_BECOME_SIX = bytes(each for each in range(32) if each not in b"\b\t\n\f\r")
_encode = msgspec.json.Encoder().encode


def as_lines(objects: Iterable[dict[str, Any]]) -> bytes:
    """Render objects as lines, each with its end."""
    lines: list[bytes] = []
    since = 0
    for each in objects:
        line = _encode(each)
        lines.append(line)
        since += len(line)
        if since >= BYTES_PER_TURN:
            since = 0
            yield_turn()
    lines.append(b"")
    return b"\n".join(lines)


def message_members(time: int, attempt: int, headers: bytes) -> dict[str, Any]:
    """Return the members about a message: `time`, `attempt`, `type`, and `meta` and `headers_base64` if any.

    `meta` has the other kept headers, `headers_base64` those whose values are not UTF-8.
    """
    members = _cached_members(headers) if len(headers) <= CACHED_BYTES else _of_headers(headers)
    return {"time": rfc3339(time), "attempt": attempt} | members


def _of_headers(headers: bytes) -> dict[str, Any]:
    """Return `type`, `meta` and `headers_base64`; not to be changed.

    A value is bytes that most publishers mean as UTF-8. One that is not is shown as ISO-8859-1, the former encoding of
    header fields, and in base64 too, for those that need its bytes.
    """
    kept: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in unpack_headers(headers):
        raw = value.encode("latin-1")
        try:
            kept[name] = raw.decode()
        except UnicodeDecodeError:
            kept[name] = value
            others[name] = base64.b64encode(raw).decode()
    members: dict[str, Any] = {"type": kept.pop("content-type")}
    if kept:
        members["meta"] = kept
    if others:
        members["headers_base64"] = others
    return members


_cached_members = lru_cache(maxsize=1024)(_of_headers)


def body_member(body: bytes, large: int = LARGE_BODY) -> dict[str, str]:
    """Return the member with a body: `text`, or `base64` where it is not UTF-8, or large and shorter so."""
    if len(body) <= large or 15 * (len(body) - len(body.translate(None, _BECOME_SIX))) <= len(body):
        try:
            return {"text": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"base64": base64.b64encode(body).decode()}
