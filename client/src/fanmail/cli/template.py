"""`--format`: how a message is printed as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from string import Formatter

from fanmail.message import Message

FIELDS: dict[str, Callable[[Message], object]] = {
    "id": lambda message: message.id,
    "time": lambda message: message.time.astimezone() if message.time else "",
    "attempt": lambda message: message.attempt,
    "type": lambda message: message.type,
    "topic": lambda message: message.topic,
    "user": lambda message: message.user,
    "bytes": lambda message: len(message.body),
    "headers": lambda message: " ".join(f"{name}={value}" for name, value in message.headers.items()),
    "body": lambda message: message.body,
}
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\0": "\0"}
BODY = "{body}"
AT_TERMINAL, AT_TERMINAL_WITH_TOPIC = "{time:%H:%M:%S} {id} {body}", "{time:%H:%M:%S} {topic} {id} {body}"


class Template:
    """A text with fields of a message in braces, such as `{time:%H:%M} {id} {body}`.

    A backslash before n, t or 0 makes a line end, a tab or a zero byte.
    """

    def __init__(self, text: str) -> None:
        """Raise ValueError for a field that a message does not have."""
        for escape, character in _ESCAPES.items():
            text = text.replace(escape, character)
        self._parts = [(literal, field, spec or "") for literal, field, spec, _ in Formatter().parse(text)]
        for _, field, spec in self._parts:
            if field is not None and field not in FIELDS:
                raise ValueError(f"{{{field}}} is not a field: {', '.join(FIELDS)}")
            if "{" in spec:
                raise ValueError("a field cannot be formatted by another one")

    def render(self, message: Message) -> bytes:
        """Return the text for a message, with its body as it is, and a line end if it has none."""
        parts = []
        for literal, field, spec in self._parts:
            parts.append(literal.encode("utf-8", "surrogateescape"))
            if field is not None:
                parts.append(_rendered(FIELDS[field](message), spec))
        text = b"".join(parts)
        return text if text.endswith((b"\n", b"\0")) else text + b"\n"


def _rendered(value: object, spec: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, datetime) and not spec:
        value = value.isoformat(timespec="milliseconds")
    return format(value, spec).encode("utf-8", "backslashreplace")
