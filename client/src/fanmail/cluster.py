"""What the operations port tells of a cluster: topics, subscriptions, brokers. Times are seconds."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fanmail.message import Message


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """Ceilings of a topic. None: not set."""

    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: float | None = None
    overflow: str | None = None
    """`reject` or `drop-oldest`: what happens at a ceiling."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic in a listing."""

    topic: str
    """Its name."""
    broker: str
    """Id of the broker that has it."""
    epoch: str
    """Of this life; message ids begin with it."""
    messages: int
    """Those that somebody still has to read."""
    bytes: int
    """Of these, with their headers."""
    subscriptions: int
    oldest_age: float
    """Of the oldest message that somebody still has to read; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class TopicDetails(Topic):
    """One topic."""

    next_seq: int
    """Number of the next message that is published."""
    head_seq: int
    """Number of the oldest that is held."""
    settings: TopicSettings
    """What is in force."""
    own_settings: TopicSettings
    """What was set for this topic by itself."""
    oldest_held_by: tuple[str, ...]
    """Up to 10 users who have not read the oldest message."""
    oldest_held_by_more: bool
    """There may be others."""


@dataclass(frozen=True, slots=True)
class TopicPage:
    """A page of topics; iterate over it."""

    topics: tuple[Topic, ...]
    cursor: str | None
    """Of the next page; None: this was the last."""
    missing: tuple[str, ...] = ()
    """Brokers that gave none, for they did not answer."""

    def __iter__(self) -> Iterator[Topic]:
        return iter(self.topics)


@dataclass(frozen=True, slots=True)
class Subscription:
    """How one user of a topic stands."""

    user: str
    pending: int
    """At most so many messages wait."""
    leased: int
    """Messages that are leased or await redelivery."""
    dead: int
    """Dead letters."""
    next_seq: int
    """Number of the next message that it gets."""
    oldest_age: float
    """Of the oldest message that it has not done; 0 where there is none."""
    expires_after: float
    """0: never."""
    max_deliveries: int
    """0: no limit."""


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """A page of subscriptions; iterate over it."""

    subscriptions: tuple[Subscription, ...]
    cursor: str | None
    """Of the next page; None: this was the last."""

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self.subscriptions)


@dataclass(frozen=True, slots=True)
class Peeked(Message):
    """A message that was looked at, and not taken."""

    state: str = ""
    """`leased`, `returned` (it awaits redelivery) or `waiting`."""


@dataclass(frozen=True, slots=True)
class DelayedTopic:
    """A topic for which publishes wait; nobody needs to be subscribed to it."""

    topic: str
    broker: str
    publishes: int
    memory: int
    """Bytes, estimated."""


@dataclass(frozen=True, slots=True)
class DelayedTopicPage:
    """A page of them; iterate over it."""

    topics: tuple[DelayedTopic, ...]
    cursor: str | None
    """Of the next page; None: this was the last."""
    missing: tuple[str, ...] = ()
    """Brokers that gave none, for they did not answer."""

    def __iter__(self) -> Iterator[DelayedTopic]:
        return iter(self.topics)


@dataclass(frozen=True, slots=True)
class Delayed:
    """A publish that waits for its time."""

    id: str
    due: datetime
    messages: int
    bytes: int
    ttl: float
    """From its publishing on; 0: without end."""
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """The other kept ones."""
    first: tuple[builtins.bytes, ...] = ()
    """Its first messages, at most 10, where it was asked for by itself."""


@dataclass(frozen=True, slots=True)
class DelayedPage:
    """A page of delayed publishes; iterate over it."""

    delayed: tuple[Delayed, ...]
    cursor: str | None
    """Of the next page; None: this was the last."""

    def __iter__(self) -> Iterator[Delayed]:
        return iter(self.delayed)


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker, as the front that was asked sees it."""

    id: str
    up: bool
    loading: bool
    """It reads its store, and does not serve yet."""
    draining: bool
    slots: int
    """Parts of the space of names, of 1,024, that are its own."""
    round_trip: float | None
    """Of the last ping."""
    stats: Mapping[str, int] = field(default_factory=dict)
    """Gauges and counters by name; empty where it does not answer."""

    @property
    def state(self) -> str:
        """`up`, `draining`, `loading` or `down`."""
        return "loading" if self.loading else "down" if not self.up else "draining" if self.draining else "up"


@dataclass(frozen=True, slots=True)
class Config:
    """With what the front that was asked was started."""

    version: str
    settings: Mapping[str, Any]
    """By name; secrets are masked."""
