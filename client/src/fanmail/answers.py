"""What successful answers say: from bytes and headers to values."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fanmail.cluster import Delayed, Peeked
from fanmail.errors import ServerFault, seconds
from fanmail.message import Acknowledged, DeadLetters, Fetched, Frames, Message, MessageId, Published, Standing
from fanmail.targets import decoded
from fanmail.values import Response

KEPT_NAMES = {"content-encoding", "content-language", "traceparent", "tracestate"}
KEPT_PREFIXES = ("meta-", "ce-")
_RENAMED = {"msg-encoding": "content-encoding", "msg-language": "content-language"}
_DEFAULT_TYPE = "application/octet-stream"


def is_kept(name: str) -> bool:
    """Whether a header travels with a message, beside its Content-Type."""
    return name.lower() in KEPT_NAMES or name.lower().startswith(KEPT_PREFIXES)


def nothing(response: Response) -> None:
    """The status says it all."""


def published(response: Response) -> Published:
    headers = response.headers
    return Published(
        0 if "msg-due" in headers else int(headers["msg-subscribers"]),
        headers.get("msg-id"),
        int(headers.get("msg-count", "1")),
        _time(headers["msg-due"]) if "msg-due" in headers else None,
        headers.get("idempotency-replayed") == "true",
    )


def created(response: Response) -> bool:
    """Whether the subscription was not there before."""
    return response.headers["subscription-created"] == "true"


def count(response: Response) -> int:
    return int(response.headers["msg-count"])


def standing(response: Response) -> Standing:
    headers = response.headers
    pending, leased, dead = (int(headers[f"msg-{name}"]) for name in ("pending", "leased", "dead"))
    return Standing(pending, leased, dead, headers.get("msg-id"))


def one(response: Response, topic: str, user: str) -> Fetched:
    """The answer to a `GET` without `max`."""
    headers = response.headers
    if response.status == 204:
        return Fetched(retry_after=seconds(headers.get("retry-after", "")))
    pending = int(headers["msg-pending"])
    message = Message(
        id=headers["msg-id"],
        body=response.body,
        type=headers.get("content-type", _DEFAULT_TYPE),
        headers={name: value for name, value in headers.items() if is_kept(name)},
        time=_time(headers["msg-time"]),
        attempt=int(headers.get("msg-attempt", "1")),
        pending=pending,
        receipt=headers.get("msg-receipt", ""),
        topic=topic,
        user=user,
    )
    return Fetched((message,), more=pending)


def several(response: Response, topic: str, user: str) -> Fetched:
    """The answer to a `GET` with `max`, as NDJSON."""
    if response.status == 204:
        return one(response, topic, user)
    more = int(response.headers.get("msg-pending", "0"))
    return Fetched(_messages(response.body, more, topic, user), more=more)


def dead_letters(response: Response, topic: str, user: str) -> DeadLetters:
    left = int(response.headers.get("msg-pending", "0"))
    return DeadLetters(_messages(response.body, left, topic, user), left)


def _messages(body: bytes, more: int, topic: str, user: str) -> tuple[Message, ...]:
    lines = _lines(body)
    return tuple(
        Message(
            **_members(each),
            pending=more + len(lines) - at,
            receipt=each.get("receipt", ""),
            topic=topic,
            user=user,
        )
        for at, each in enumerate(lines, 1)
    )


def _members(line: dict[str, Any]) -> dict[str, Any]:
    """What JSON tells of a message, wherever it stands."""
    return {
        "id": line["id"],
        "body": _body(line),
        "type": line["type"],
        "headers": line.get("meta", {}),
        "time": _time(line["time"]),
        "attempt": line["attempt"],
    }


def peeked(messages: list[dict[str, Any]], topic: str, user: str) -> tuple[Peeked, ...]:
    """Messages of the admin API."""
    return tuple(Peeked(**_members(each), state=each["state"], topic=topic, user=user) for each in messages)


def _body(members: dict[str, Any]) -> bytes:
    return members["text"].encode() if "text" in members else base64.b64decode(members["base64"])


def delayed(members: dict[str, Any]) -> Delayed:
    """A delayed publish of the admin API."""
    names = ("id", "messages", "bytes", "ttl", "type")
    first = tuple(_body(each) for each in members.get("first", ()))
    about = {name: members[name] for name in names}
    return Delayed(**about, due=_time(members["due"]), headers=members.get("meta", {}), first=first)


def acknowledged(response: Response) -> list[Acknowledged]:
    return [Acknowledged(each["receipt"], each["done"], each.get("code", "")) for each in _lines(response.body)]


def frames(response: Response) -> Frames | None:
    """The answer to a `GET` with `max`, as frames; None where nothing waits."""
    if response.status == 204:
        return None
    headers = response.headers
    kept = {_RENAMED.get(name, name): value for name, value in headers.items() if name in _RENAMED or is_kept(name)}
    return Frames(
        MessageId.parse(headers["msg-first-id"]),
        tuple(unpacked(response.body)),
        headers.get("msg-type", _DEFAULT_TYPE),
        kept,
        int(headers.get("msg-pending", "0")),
    )


def packed(bodies: list[bytes]) -> bytes:
    """Messages as frames: each 4 bytes of big-endian length, then the bytes."""
    return b"".join([struct.pack(">I", len(body)) + body for body in bodies])


def unpacked(data: bytes) -> Iterator[bytes]:
    """The messages in frames. Raises ServerFault where one is cut off."""
    at, end = 0, len(data)
    while at < end:
        start = at + 4
        if start <= end:
            at = start + int.from_bytes(data[at:start], "big")
        if start > end or at > end:
            raise ServerFault("the answer is cut off within a frame")
        yield data[start:at]


def _lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines() if line]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def lowered(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Headers as `Response` wants them; of repeated ones the last."""
    return {name.lower().decode("latin-1"): decoded(value) for name, value in headers}
