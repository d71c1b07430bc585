"""Parsers of successful responses, from bytes and headers to values."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fanmail.cluster import Delayed, Peeked
from fanmail.encoding import decode_header, is_message_header
from fanmail.errors import ServerFault, parse_retry_after
from fanmail.http_call import Response
from fanmail.message import (
    Acknowledged,
    DeadLetters,
    Fetched,
    Frames,
    Message,
    MessageId,
    Published,
    SubscriptionStatus,
)

_RENAMED = {"msg-encoding": "content-encoding", "msg-language": "content-language"}
_DEFAULT_TYPE = "application/octet-stream"


def parse_nothing(response: Response) -> None:
    """Ignore a response whose status says everything."""


def parse_published(response: Response) -> Published:
    """Return the result of a publish."""
    headers = response.headers
    return Published(
        0 if "msg-due" in headers else int(headers["msg-subscribers"]),
        headers.get("msg-id"),
        int(headers.get("msg-count", "1")),
        _time(headers["msg-due"]) if "msg-due" in headers else None,
        headers.get("idempotency-replayed") == "true",
    )


def parse_created(response: Response) -> bool:
    """Return whether the subscription was created by this call."""
    return response.headers["subscription-created"] == "true"


def parse_count(response: Response) -> int:
    """Return the number of messages concerned."""
    return int(response.headers["msg-count"])


def parse_status(response: Response) -> SubscriptionStatus:
    """Return the status of a subscription."""
    headers = response.headers
    pending, leased, dead = (int(headers[f"msg-{name}"]) for name in ("pending", "leased", "dead"))
    return SubscriptionStatus(pending, leased, dead, headers.get("msg-id"))


def parse_message(response: Response, topic: str, user: str) -> Fetched:
    """Return the message in a response to a `GET` without `max`."""
    headers = response.headers
    if response.status == 204:
        return Fetched(retry_after=parse_retry_after(headers.get("retry-after", "")))
    pending = int(headers["msg-pending"])
    message = Message(
        id=headers["msg-id"],
        body=response.body,
        type=headers.get("content-type", _DEFAULT_TYPE),
        headers={name: value for name, value in headers.items() if is_message_header(name)},
        time=_time(headers["msg-time"]),
        attempt=int(headers.get("msg-attempt", "1")),
        pending=pending,
        receipt=headers.get("msg-receipt", ""),
        topic=topic,
        user=user,
    )
    return Fetched((message,), more=pending)


def parse_messages(response: Response, topic: str, user: str) -> Fetched:
    """Return the messages in a response to a `GET` with `max`, which is NDJSON."""
    if response.status == 204:
        return parse_message(response, topic, user)
    more = int(response.headers.get("msg-pending", "0"))
    return Fetched(_messages(response.body, more, topic, user), more=more)


def parse_dead_letters(response: Response, topic: str, user: str) -> DeadLetters:
    """Return a page of dead letters."""
    left = int(response.headers.get("msg-pending", "0"))
    return DeadLetters(_messages(response.body, left, topic, user), left)


def _messages(body: bytes, more: int, topic: str, user: str) -> tuple[Message, ...]:
    lines = _lines(body)
    return tuple(
        Message(
            **_message_fields(line),
            pending=more + len(lines) - number,
            receipt=line.get("receipt", ""),
            topic=topic,
            user=user,
        )
        for number, line in enumerate(lines, 1)
    )


def _message_fields(members: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a message that every JSON form of it has."""
    return {
        "id": members["id"],
        "body": _body(members),
        "type": members["type"],
        "headers": members.get("meta", {}),
        "time": _time(members["time"]),
        "attempt": members["attempt"],
    }


def parse_streamed(members: dict[str, Any], topic: str, user: str) -> Message:
    """Return a message of a stream, or of a session."""
    return Message(**_message_fields(members), receipt=members.get("receipt", ""), topic=topic, user=user)


def _body(members: dict[str, Any]) -> bytes:
    return members["text"].encode() if "text" in members else base64.b64decode(members["base64"])


def parse_peeked(messages: list[dict[str, Any]], topic: str, user: str) -> tuple[Peeked, ...]:
    """Return messages of the admin API."""
    return tuple(Peeked(**_message_fields(each), state=each["state"], topic=topic, user=user) for each in messages)


def parse_delayed(members: dict[str, Any]) -> Delayed:
    """Return a delayed publish of the admin API."""
    same = {name: members[name] for name in ("id", "messages", "bytes", "ttl", "type")}
    first = tuple(_body(each) for each in members.get("first", ()))
    return Delayed(**same, due=_time(members["due"]), headers=members.get("meta", {}), first=first)


def parse_acknowledged(response: Response) -> list[Acknowledged]:
    """Return one result per receipt, in order."""
    return [Acknowledged(each["receipt"], each["done"], each.get("code", "")) for each in _lines(response.body)]


def parse_frames(response: Response) -> Frames | None:
    """Return the frames in a response to a `GET` with `max`, or None if no message waits."""
    if response.status == 204:
        return None
    headers = {
        _RENAMED.get(name, name): value
        for name, value in response.headers.items()
        if name in _RENAMED or is_message_header(name)
    }
    return Frames(
        MessageId.parse(response.headers["msg-first-id"]),
        tuple(unpack_frames(response.body)),
        response.headers.get("msg-type", _DEFAULT_TYPE),
        headers,
        int(response.headers.get("msg-pending", "0")),
    )


def pack_frames(bodies: list[bytes]) -> bytes:
    """Return messages as frames, each of which is 4 bytes of big-endian length and the message."""
    return b"".join([struct.pack(">I", len(body)) + body for body in bodies])


def unpack_frames(data: bytes) -> Iterator[bytes]:
    """Yield the messages in frames. Raises ServerFault if a frame is incomplete."""
    position, end = 0, len(data)
    while position < end:
        start = position + 4
        if start <= end:
            position = start + int.from_bytes(data[position:start], "big")
        if start > end or position > end:
            raise ServerFault("the response ends within a frame")
        yield data[start:position]


def _lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines() if line]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def decode_headers(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return headers by lower-case name. The last one of repeated headers counts."""
    return {name.lower().decode("latin-1"): decode_header(value) for name, value in headers}
