"""Messages as JSON, one object a line (section 7 of `docs/http-api.md`). No I/O here."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from httpfront.metadata import rfc3339, unpack_headers

NDJSON = "application/x-ndjson"

as_lines = msgspec.json.Encoder().encode_lines
"""Objects to lines, each with its end; nothing to nothing."""


def described(time: int, attempt: int, headers: bytes) -> dict[str, Any]:
    """The members that tell of a message: `time`, `attempt`, `type` and, where there are more kept headers, `meta`."""
    kept = dict(unpack_headers(headers))
    members: dict[str, Any] = {"time": rfc3339(time), "attempt": attempt, "type": kept.pop("content-type")}
    if kept:
        members["meta"] = kept
    return members


def content(body: bytes) -> dict[str, str]:
    """The member that holds a body: `text`, or `base64` of what is not UTF-8."""
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
