"""The operations of a session: one function per operation, from its arguments to an `Op`.

`Session` and `AsyncSession` have a method for each of these functions, with the same arguments. The method returns the
`T` of the `Op[T]` here, once the server has answered. In the examples `session` is a `Session`. Times are seconds.

All operations raise `Unavailable` (not executed) or `OutcomeUnknown` when the retries end, and the other errors of
`fanmail.errors` at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from fanmail.encoding import checked_header, message_headers
from fanmail.message import Message, Published

T = TypeVar("T")

Members = dict[str, Any]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ALWAYS_TEXT_BYTES = 2048
"""Up to here a body is sent as text whatever it is: escaped, it fits in what a server allows besides `max_body`."""


@dataclass(frozen=True, slots=True)
class Op(Generic[T]):
    """One operation of a session."""

    members: Members
    """Those of its JSON object, without `ref`."""
    parse: Callable[[Members], T]
    """Return the result that an `ok` carries."""
    repeatable: bool = True
    """Whether it may be sent again when its outcome is unknown."""
    wants_key: bool = False
    """Whether to add an idempotency key, which makes it repeatable."""
    gone_is_done: bool = False
    """Whether 404 in answer to a repeat means that an earlier try was executed."""
    size: int = 0
    """The bytes of the body."""
    receipt: str = ""
    """The lease that it acknowledges. Those of one mailbox may be sent together."""

    @property
    def lane(self) -> Hashable:
        """What the operations have in common that are executed in the order in which they were made."""
        return (self.members["op"] == "publish", self.members["topic"], self.members.get("user"))

    def encode(self, number: int | None) -> bytes:
        """Return the text of its frame; without a number it gets no answer.

        Raises ValueError for what is not Unicode.
        """
        return _encode({**self.members, "ref": number}).encode()

    def with_key(self, new_key: Callable[[], str]) -> Op[T]:
        """Return it with the idempotency key that it wants."""
        if not self.wants_key:
            return self
        return replace(self, members={**self.members, "key": new_key()}, repeatable=True, wants_key=False)


def publish(
    topic: str,
    body: bytes | str = b"",
    *,
    type: str | None = None,
    headers: Mapping[str, str] | None = None,
    ttl: float | None = None,
    delay: float | None = None,
    key: str | None = None,
) -> Op[Published]:
    """Publish one message. The arguments are those of `Client.publish`.

    It is stored once, however often a session that reconnects sends it, because of its idempotency key.

    >>> session.publish("news", "hello", type="text/plain").subscribers
    1
    """
    members: Members = {"op": "publish", "topic": topic}
    data = body.encode() if isinstance(body, str) else body
    members |= _body(data)
    if type is not None or headers:
        message_headers(type, headers)  # raises for what the server would not keep
        members["type"] = type
        members["meta"] = {name.lower(): value for name, value in (headers or {}).items()}
    given = {"ttl": ttl, "delay": delay, "key": checked_header("Idempotency-Key", key)[1] if key else None}
    members |= {name: value for name, value in given.items() if value is not None}
    return Op(members, _published, bool(key), wants_key=key is None, size=len(data))


def subscribe(
    topic: str, user: str, *, expires_after: float | None = None, max_deliveries: int | None = None
) -> Op[bool]:
    """Subscribe a user, as `Client.subscribe` does. Return whether the user was not subscribed before.

    >>> session.subscribe("news", "bob"), session.subscribe("news", "bob")
    (True, False)
    """
    members = _mailbox("subscribe", topic, user)
    given = {"expires_after": expires_after, "max_deliveries": max_deliveries}
    members |= {name: value for name, value in given.items() if value is not None}
    return Op(members, lambda answer: bool(answer["created"]))


def unsubscribe(topic: str, user: str) -> Op[None]:
    """End a subscription and delete its unread messages, as `Client.unsubscribe` does. Raises `NoSubscription`."""
    return Op(_mailbox("unsubscribe", topic, user), _nothing, gone_is_done=True)


def acknowledge(message: Message) -> Op[None]:
    """Acknowledge a leased message, or everything up to and including a message that was read without a lease.

    Raises `LeaseLost` if the message was delivered to another worker meanwhile, `CursorLost`, `NoSubscription`.

    >>> for message in session.read("news", "bob", mode="lease", wait=0.1):
    ...     session.acknowledge(message)
    """
    what = {"receipt": message.receipt} if message.receipt else {"id": message.id}
    return Op(_mailbox("ack", message.topic, message.user) | what, _nothing, receipt=message.receipt)


def acknowledge_all(topic: str, user: str, receipts: Sequence[str]) -> Op[frozenset[str]]:
    """Acknowledge leased messages of one mailbox. The result are the receipts whose leases were lost."""
    members = _mailbox("ack", topic, user) | {"receipts": receipts}
    return Op(members, lambda answer: frozenset(answer.get("lost", ())))


def give_back(message: Message, delay: float = 0) -> Op[None]:
    """End a lease so that the message is redelivered, to any worker, now or after `delay`. Raises `LeaseLost`."""
    more = {"delay": delay} if delay else {}
    return Op(_mailbox("nack", message.topic, message.user) | {"receipt": _receipt(message)} | more, _nothing)


def extend(message: Message, lease: float) -> Op[None]:
    """Make a lease end `lease` seconds from now. Raises `LeaseLost`. A loop over `read` does so by itself."""
    more = {"receipt": _receipt(message), "lease": lease}
    return Op(_mailbox("extend", message.topic, message.user) | more, _nothing)


def stop(topic: str, user: str) -> Op[None]:
    """End a read. Leases that are out stay."""
    return Op(_mailbox("stop", topic, user), _nothing)


def advance(topic: str, user: str, message_id: str) -> Op[None]:
    """Acknowledge everything up to and including an id."""
    return Op(_mailbox("ack", topic, user) | {"id": message_id}, _nothing)


def read(topic: str, user: str, mode: str, window: int, more: Mapping[str, object]) -> Op[None]:
    """Begin to read a mailbox."""
    return Op(_mailbox("read", topic, user) | {"mode": mode, "window": window} | dict(more), _nothing)


def _body(data: bytes) -> Members:
    """Return a body as text, or as base64 where that is shorter: a server takes no message far above `max_body`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    if len(data) > _ALWAYS_TEXT_BYTES:
        escapes = len(_encode(text)) - len(text) - 2
        if escapes > -(-len(data) // 3) * 4 - len(data):
            return {"base64": base64.b64encode(data).decode()}
    return {"text": text}


def _mailbox(name: str, topic: str, user: str) -> Members:
    return {"op": name, "topic": topic, "user": user}


def _receipt(message: Message) -> str:
    if not message.receipt:
        raise ValueError(f"message {message.id} was not leased")
    return message.receipt


def _nothing(answer: Members) -> None:
    """Ignore an answer that says nothing more."""


def _published(answer: Members) -> Published:
    due = answer.get("due")
    return Published(
        answer.get("subscribers", 0),
        answer.get("id"),
        due=datetime.fromisoformat(due) if due else None,
        replayed=answer.get("replayed", False),
    )
