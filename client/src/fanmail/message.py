"""Messages, and the other results of calls to the public port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


class MessageId(NamedTuple):
    """A `Msg-Id` in its parts. Ids of one epoch count 1, 2, 3, ... without gaps."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """Return a message id in its parts. Raises ValueError if `text` is not a message id.

        >>> MessageId.parse("4f1c-17")
        MessageId(epoch='4f1c', seq=17)
        """
        epoch, _, seq = text.rpartition("-")
        if not epoch or not seq.isascii() or not seq.isdigit():
            raise ValueError(f"{text!r} is not a message id")
        return cls(epoch, int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was delivered."""

    id: str
    body: bytes
    type: str = "application/octet-stream"
    """The Content-Type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The other headers that travelled with the message, by lower-case name: `meta-*`, `ce-*`, `traceparent`, ... A
    value that was not published as UTF-8 is decoded as latin-1, which preserves every byte."""
    time: datetime | None = None
    """When the message was published, UTC."""
    attempt: int = 1
    """With leases: the number of deliveries, including this one."""
    pending: int = 0
    """The number of messages that wait after this one, at most."""
    receipt: str = ""
    """With leases: the receipt that acknowledges the message."""
    topic: str = ""
    user: str = ""

    @property
    def seq(self) -> int:
        """The message's number within its topic."""
        return MessageId.parse(self.id).seq

    @property
    def text(self) -> str:
        """The body decoded as UTF-8. Raises UnicodeDecodeError."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body decoded as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Messages that were delivered together, in order. Iterate over it."""

    messages: tuple[Message, ...] = ()
    retry_after: float = 0.0
    """Seconds to wait before the next poll if the server could not wait, else 0."""
    more: int = 0
    """The number of messages that wait after these, at most."""

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True, slots=True)
class Frames:
    """Consecutive messages that all have the same headers, from the fastest way to fetch."""

    first: MessageId
    bodies: tuple[bytes, ...]
    type: str
    headers: Mapping[str, str]
    more: int
    """The number of messages that wait after these, at most."""

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def last(self) -> str:
        """The id of the last message, which is the next `after`."""
        return str(MessageId(self.first.epoch, self.first.seq + len(self.bodies) - 1))


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publish."""

    subscribers: int
    """The number of users who get the message. 0: it was dropped, or it is delayed."""
    id: str | None
    """The id of the message, or of the first one of a batch. None if nothing was stored, or not yet."""
    count: int = 1
    """The number of messages in the batch."""
    due: datetime | None = None
    """When a delayed message is published."""
    replayed: bool = False
    """Whether the idempotency key was known. If so, this is the result of the first publish, and nothing was stored."""


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """The status of a subscription."""

    pending: int
    """The number of waiting messages, at most."""
    leased: int
    """The number of messages that are leased or await redelivery."""
    dead: int
    """The number of dead letters."""
    next_id: str | None
    """The id of the next message, if one waits."""


Standing = SubscriptionStatus
"""Deprecated: the former name of `SubscriptionStatus`."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The result for one of several acknowledged receipts."""

    receipt: str
    done: bool
    code: str = ""
    """Why the acknowledgement failed."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """One page of dead letters, oldest first. Iterate over it."""

    messages: tuple[Message, ...]
    left: int
    """The number of dead letters after this page."""

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def next_after(self) -> str | None:
        """The `after` of the next page, or None if this is the last one."""
        return self.messages[-1].id if self.left and self.messages else None


@dataclass(frozen=True, slots=True)
class Worked:
    """The numbers of messages that a worker handled."""

    done: int = 0
    """Acknowledged."""
    failed: int = 0
    """Given back."""
    lost: int = 0
    """Handled after the lease had passed to another worker, which handles the message too."""
