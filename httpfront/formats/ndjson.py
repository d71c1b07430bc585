"""Messages as JSON, one object per line (`docs/http-api.md`). No I/O here."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from httpfront.formats.metadata import rfc3339, unpack_headers
from httpfront.hub import yield_turn

NDJSON = "application/x-ndjson"

BYTES_PER_TURN = 1024 * 1024
"""Bytes rendered before others get their turn. One byte of a body may become six of JSON."""
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
    return {"time": rfc3339(time), "attempt": attempt} | _of_headers(headers)


@lru_cache(maxsize=1024)
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


def body_member(body: bytes) -> dict[str, str]:
    """Return the member with a body: `text`, or `base64` where it is not UTF-8."""
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
