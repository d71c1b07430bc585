"""Messages and the other things that answers speak of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


class MessageId(NamedTuple):
    """A `Msg-Id` taken apart: ids of one epoch count 1, 2, 3, ... without gaps."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """Raises ValueError for what is no message id.

        >>> MessageId.parse("4f1c-17")
        MessageId(epoch='4f1c', seq=17)
        """
        epoch, _, seq = text.rpartition("-")
        if not epoch or not seq.isascii() or not seq.isdigit():
            raise ValueError(f"{text!r} is no message id")
        return cls(epoch, int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was handed out."""

    id: str
    body: bytes
    type: str = "application/octet-stream"
    """Its Content-Type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Other headers that travelled with it, by lower-case names: `meta-*`, `ce-*`, `traceparent`, ... A value that was
    published as something else than UTF-8 is read as latin-1, so that no byte of it is lost."""
    time: datetime | None = None
    """When it was published, UTC."""
    attempt: int = 1
    """With leases: how often it has been handed out, this time included."""
    pending: int = 0
    """At most so many wait for the user behind this one."""
    receipt: str = ""
    """With leases: what acknowledges it."""
    topic: str = ""
    user: str = ""

    @property
    def seq(self) -> int:
        """Its number in the topic."""
        return MessageId.parse(self.id).seq

    @property
    def text(self) -> str:
        """The body as UTF-8. Raises UnicodeDecodeError."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Messages that were handed out together, in order; iterate over it."""

    messages: tuple[Message, ...] = ()
    retry_after: float = 0.0
    """Seconds, where the server could not wait and asks not to be polled at once."""
    more: int = 0
    """At most so many wait behind them."""

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True, slots=True)
class Frames:
    """A run of messages without gaps that have all the same headers: the fast way to fetch."""

    first: MessageId
    bodies: tuple[bytes, ...]
    type: str
    headers: Mapping[str, str]
    more: int
    """At most so many wait behind them."""

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def last(self) -> str:
        """Id of the last one, for the next `after`."""
        return str(MessageId(self.first.epoch, self.first.seq + len(self.bodies) - 1))


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a publish."""

    subscribers: int
    """How many users get it; 0: it was dropped, or it is delayed."""
    id: str | None
    """Of the message, of a batch its first; None where nothing was stored, or not yet."""
    count: int = 1
    """Messages of the batch."""
    due: datetime | None = None
    """When a delayed one is published."""
    replayed: bool = False
    """The idempotency key was known: this is the answer of the first time, nothing was stored again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subscription stands."""

    pending: int
    """At most so many messages wait."""
    leased: int
    """Messages that are leased or await redelivery."""
    dead: int
    """Dead letters."""
    next_id: str | None
    """Id of the next message, if one waits."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What became of one receipt among many."""

    receipt: str
    done: bool
    code: str = ""
    """Why it is not done."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """One page of dead letters, oldest first; iterate over it."""

    messages: tuple[Message, ...]
    left: int
    """So many are behind this page."""

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def next_after(self) -> str | None:
        """The `after` of the next page, if there is one."""
        return self.messages[-1].id if self.left and self.messages else None


@dataclass(frozen=True, slots=True)
class Worked:
    """What a worker did."""

    done: int = 0
    failed: int = 0
    """Given back."""
    lost: int = 0
    """Handled, but the lease had gone to somebody else: they were or will be handled again."""
