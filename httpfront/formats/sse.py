"""Server-sent events (WHATWG HTML, section 9.2) as bytes. No I/O here.

Nothing of a message can forge an event or a field: its JSON has no line end, and as text each of its lines becomes a
field of its own. A client that reads the fields gets exactly the text back.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from httpfront.formats.ndjson import LARGE_BODY, body_member

EVENT_STREAM = "text/event-stream"

_encode = msgspec.json.Encoder().encode


class ServerSentEvents:
    """Renders the events of a stream; `text`: the body alone in place of a JSON object."""

    media_type = EVENT_STREAM
    silence = b":\n\n"
    """Sent where there has been nothing else for a while."""

    def __init__(self, *, text: bool = False) -> None:
        self._text = text

    def retry(self, milliseconds: int) -> bytes:
        """Return the field that says how long a client waits until it connects again."""
        return b"retry: %d\n\n" % milliseconds

    def place(self, cursor: str) -> bytes:
        """Return the id with which a client connects again before it has read a message; no event has it."""
        return b"id: %b\n\n" % cursor.encode()

    def message(self, message_id: str, members: dict[str, Any], body: bytes) -> bytes:
        """Return one message. `members` are those of `message_members`."""
        start = b"id: %b\n" % message_id.encode()
        if self._text:
            return start + text_fields(body)
        return start + b"data: %b\n\n" % _encode({"id": message_id} | members | body_member(body))

    def event(self, name: str, members: dict[str, Any]) -> bytes:
        """Return an event that is no message. It has no id, so that the client's last one stays."""
        return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(members))


def text_fields(body: bytes, large: int = LARGE_BODY) -> bytes:
    """Return a body as one field per line; as `event: base64` where a client would not get it back unchanged.

    That is where it is not UTF-8, or has a CR, which is a line end too, or a NUL; and where it is large and shorter so.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        plain = False
    else:
        short = len(body) <= large or 18 * body.count(b"\n") <= len(body)  # a line end becomes seven bytes
        plain = short and b"\r" not in body and b"\0" not in body
    if not plain:
        return b"event: base64\ndata: %b\n\n" % base64.b64encode(body)
    return b"data: %b\n\n" % body.replace(b"\n", b"\ndata: ")
