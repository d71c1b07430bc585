"""Requests to a target: a message or a batch as body and headers, signed as Standard Webhooks 1.0 says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from fanmail.encoding import encode_header
from fanmail.message import Message

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent, the same at every attempt."""

    id: str
    """Equal for equal messages, so that the receiver can recognise a repeat."""
    headers: tuple[tuple[str, str], ...]
    body: bytes


def one_message(message: Message) -> Delivery:
    """Return a message as it was published: its body, its type and the headers that travel with it."""
    return Delivery(message.id, (("content-type", message.type), *message.headers.items()), message.body)


def many_messages(messages: Sequence[Message]) -> Delivery:
    """Return messages as NDJSON, in order; each has an `id` of its own.

    The id of the request stands for just these messages: a repeat with others among them is another request.
    """
    digest = hashlib.sha256("\n".join([each.id for each in messages]).encode()).hexdigest()
    lines = [json.dumps(_fields(each), ensure_ascii=False, separators=(",", ":")) for each in messages]
    body = "".join([f"{line}\n" for line in lines]).encode("utf-8", "surrogateescape")
    return Delivery(f"batch_{digest[:32]}", (("content-type", NDJSON),), body)


def signed_headers(delivery: Delivery, secrets: Sequence[bytes], timestamp: int) -> list[tuple[bytes, bytes]]:
    """Return all headers of a request that is sent at `timestamp`, seconds since 1970."""
    own = [("webhook-id", delivery.id), ("webhook-timestamp", str(timestamp))]
    if secrets:
        own.append(("webhook-signature", " ".join([signature(delivery, each, timestamp) for each in secrets])))
    return [(name.encode("ascii"), encode_header(value)) for name, value in (*delivery.headers, *own)]


def signature(delivery: Delivery, secret: bytes, timestamp: int) -> str:
    """Return the signature with one secret."""
    signed = f"{delivery.id}.{timestamp}.".encode() + delivery.body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def _fields(message: Message) -> dict[str, object]:
    """Return a message as the server's NDJSON has it, without the receipt, which would let the receiver acknowledge."""
    fields: dict[str, object] = {"id": message.id}
    if message.time:
        fields["time"] = message.time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{message.time.microsecond // 1000:03}Z"
    fields |= {"attempt": message.attempt, "type": message.type}
    if message.headers:
        fields["meta"] = dict(message.headers)
    try:
        return fields | {"text": message.body.decode()}
    except UnicodeDecodeError:
        return fields | {"base64": base64.b64encode(message.body).decode()}
