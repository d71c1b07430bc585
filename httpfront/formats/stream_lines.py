"""A stream as NDJSON: one JSON object per line, for clients that do not read server-sent events. No I/O here."""

from __future__ import annotations

from typing import Any

import msgspec

from httpfront.formats.ndjson import NDJSON, body_member

_encode = msgspec.json.Encoder().encode


class StreamLines:
    """Renders the lines of a stream. Messages have an `id`, everything else has an `event`."""

    media_type = NDJSON
    silence = b"\n"
    """Sent where there has been nothing else for a while."""

    def retry(self, milliseconds: int) -> bytes:
        """Return nothing: there is no such line."""
        return b""

    def place(self, cursor: str) -> bytes:
        """Return nothing: a line with an `id` is a message."""
        return b""

    def message(self, message_id: str, members: dict[str, Any], body: bytes) -> bytes:
        """Return one message. `members` are those of `message_members`."""
        return _encode({"id": message_id} | members | body_member(body)) + b"\n"

    def event(self, name: str, members: dict[str, Any]) -> bytes:
        """Return a line that is no message."""
        return _encode({"event": name} | members) + b"\n"
