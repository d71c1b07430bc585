"""Topics, subscriptions and brokers as the operations port describes them. Times are seconds."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fanmail.message import Message


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The limits of a topic. None: not set."""

    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: float | None = None
    overflow: str | None = None
    """What happens at a limit: `reject` or `drop-oldest`."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic in a listing."""

    topic: str
    """The name."""
    broker: str
    """The id of the broker that owns the topic."""
    epoch: str
    """The epoch of this life of the topic, with which message ids begin."""
    messages: int
    """The number of messages that at least one user has not read."""
    bytes: int
    """The size of these messages, including headers."""
    subscriptions: int
    oldest_age: float
    """The age of the oldest of these messages; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class TopicDetails(Topic):
    """A topic with its settings and the users who hold its oldest message."""

    next_seq: int
    """The number of the next message to be published."""
    head_seq: int
    """The number of the oldest message that is stored."""
    settings: TopicSettings
    """The settings in force."""
    own_settings: TopicSettings
    """The settings that were made for this topic."""
    oldest_held_by: tuple[str, ...]
    """Up to 10 users who have not read the oldest message."""
    oldest_held_by_more: bool
    """Whether there may be more such users."""


@dataclass(frozen=True, slots=True)
class TopicPage:
    """A page of topics. Iterate over it."""

    topics: tuple[Topic, ...]
    cursor: str | None
    """The cursor of the next page, or None if this is the last one."""
    missing: tuple[str, ...] = ()
    """Brokers that did not answer, whose topics are missing."""

    def __iter__(self) -> Iterator[Topic]:
        return iter(self.topics)


@dataclass(frozen=True, slots=True)
class Subscription:
    """The subscription of one user to a topic."""

    user: str
    pending: int
    """The number of waiting messages, at most."""
    leased: int
    """The number of messages that are leased or await redelivery."""
    dead: int
    """The number of dead letters."""
    next_seq: int
    """The number of the next message to deliver."""
    oldest_age: float
    """The age of the oldest unacknowledged message; 0 if there is none."""
    expires_after: float
    """Seconds without a request after which the subscription ends; 0: never."""
    max_deliveries: int
    """The number of deliveries after which a message becomes a dead letter; 0: no limit."""


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """A page of subscriptions. Iterate over it."""

    subscriptions: tuple[Subscription, ...]
    cursor: str | None
    """The cursor of the next page, or None if this is the last one."""

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self.subscriptions)


@dataclass(frozen=True, slots=True)
class Peeked(Message):
    """A message that was read without changing its state."""

    state: str = ""
    """`leased`, `returned` (awaiting redelivery) or `waiting`."""


@dataclass(frozen=True, slots=True)
class DelayedTopic:
    """A topic that has delayed publishes. It need not have subscriptions."""

    topic: str
    broker: str
    publishes: int
    memory: int
    """The estimated memory of the delayed publishes in bytes."""


@dataclass(frozen=True, slots=True)
class DelayedTopicPage:
    """A page of topics that have delayed publishes. Iterate over it."""

    topics: tuple[DelayedTopic, ...]
    cursor: str | None
    """The cursor of the next page, or None if this is the last one."""
    missing: tuple[str, ...] = ()
    """Brokers that did not answer, whose topics are missing."""

    def __iter__(self) -> Iterator[DelayedTopic]:
        return iter(self.topics)


@dataclass(frozen=True, slots=True)
class Delayed:
    """A delayed publish."""

    id: str
    due: datetime
    messages: int
    bytes: int
    ttl: float
    """The time to live, which begins at `due`; 0: no limit."""
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """The other headers that travel with the messages."""
    first: tuple[builtins.bytes, ...] = ()
    """The first messages, at most 10. Empty in a listing."""


@dataclass(frozen=True, slots=True)
class DelayedPage:
    """A page of delayed publishes. Iterate over it."""

    delayed: tuple[Delayed, ...]
    cursor: str | None
    """The cursor of the next page, or None if this is the last one."""

    def __iter__(self) -> Iterator[Delayed]:
        return iter(self.delayed)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the processes of a replicated broker, as seen by the front that was asked."""

    host: str
    state: str
    """`owner`, `standby`, `loading` or `down`."""
    term: int
    """Term of the log that the process knows; it grows with each take-over."""
    lag: int | None
    """Entries of the log that it is behind; None if it does not answer."""
    round_trip: float | None
    """The round-trip time of the last ping."""
    log: Mapping[str, int] = field(default_factory=dict)
    """What it knows of its log, by name; empty if it does not answer."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, as seen by the front that was asked."""

    id: str
    up: bool
    loading: bool
    """Whether the broker is still reading its store and serves no requests yet."""
    paused: bool
    """Whether the operator has paused the broker, which then refuses publishes and new subscriptions."""
    slots: int
    """The number of the 1,024 hash slots that the broker owns."""
    round_trip: float | None
    """The round-trip time of the last ping."""
    stats: Mapping[str, int] = field(default_factory=dict)
    """Gauges and counters by name; empty if the broker does not answer."""
    candidates: tuple[Candidate, ...] = ()
    """The processes of a replicated broker; empty for others."""

    @property
    def state(self) -> str:
        """`up`, `paused`, `loading` or `down`."""
        return "loading" if self.loading else "down" if not self.up else "paused" if self.paused else "up"

    @property
    def draining(self) -> bool:
        """Deprecated: the former name of `paused`."""
        return self.paused


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of the front that was asked."""

    version: str
    settings: Mapping[str, Any]
    """By name, with secrets masked."""
