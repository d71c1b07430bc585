"""Every ceiling of a broker. Reading, acknowledging and unsubscribing are allowed at all of them."""

from __future__ import annotations

from typing import NamedTuple

from broker.state.state import State
from broker.state.topic_settings import TopicSettings
from common.config import BrokerSettings
from common.errors import FanmailError
from common.shares import room

SECOND_US = 1_000_000
ROW_BYTES = 1024
"""Bytes that a row takes on the disk beside its content, and in the write-ahead log: a safe estimate."""


def on_disk(size: int, rows: int = 1) -> int:
    """Return the bytes that content of this size takes on the disk: in the write-ahead log, and in the file."""
    return 2 * (size + rows * ROW_BYTES)


class Limits(NamedTuple):
    """Ceilings; a request that would exceed one is refused and changes nothing."""

    topics: int
    subscriptions: int
    topic_messages: int
    """Stored messages of one topic, by default."""
    topic_bytes: int
    """Stored content bytes of one topic, by default."""
    memory: int
    """Estimated bytes of the whole broker."""
    leases: int = BrokerSettings.max_leases
    """Open leases of one user."""
    lease_window: int = BrokerSettings.lease_window
    """How far beyond the oldest unfinished message others are leased to one user."""
    dead: int = BrokerSettings.max_dead
    """Dead letters of one user; the oldest are dropped for new ones."""
    dead_bytes: int = BrokerSettings.max_dead_bytes
    """Content bytes of one user's dead letters; the oldest are dropped for new ones."""
    delayed: int = BrokerSettings.max_delayed
    """Delayed publishes."""
    keys: int = BrokerSettings.max_keys
    """Idempotency keys of one topic; the oldest are forgotten for new ones."""
    key_bytes: int = BrokerSettings.max_key_bytes
    """Memory of all idempotency keys; the topic with the most forgets its oldest."""
    key_ttl: int = round(BrokerSettings.key_ttl * SECOND_US)
    """Microseconds that a key is remembered."""
    topic_share: int = BrokerSettings.topic_share
    """Percent of what other topics leave of the broker's leases and delayed publishes that one topic may take."""
    subscription_share: int = BrokerSettings.subscription_share
    """Percent of what other topics leave of the broker's subscriptions, likewise."""

    @property
    def held_memory(self) -> int:
        """Return the bytes for held messages of all users together."""
        return self.memory // 4

    @property
    def dead_memory(self) -> int:
        """Return the bytes for all dead letters; the topic and user with the most drop their oldest."""
        return self.memory // 4

    @property
    def delayed_memory(self) -> int:
        """Return the bytes for all delayed publishes."""
        return self.memory // 4

    @property
    def topic_settings(self) -> TopicSettings:
        """Return the default settings of topics."""
        return TopicSettings(self.topic_messages, self.topic_bytes)

    def check_size(self, settings: TopicSettings, size: int, count: int) -> None:
        """Raise `topic-full` (429) for a publish that exceeds its topic's ceiling by itself."""
        if count > settings.max_messages:
            raise FanmailError(
                "topic-full", f"the batch has {count} messages, the topic's ceiling is {settings.max_messages}"
            )
        if size > settings.max_bytes:
            raise FanmailError(
                "topic-full", f"the publish has {size} bytes, the topic's ceiling is {settings.max_bytes}"
            )

    def check_memory(self, state: State, more: int) -> None:
        """Raise `memory-full` (503) where `more` bytes would exceed the ceiling."""
        if more > 0 and not self.make_room(state, more):
            raise FanmailError("memory-full", f"the broker is at its ceiling of {self.memory} bytes of memory")

    def make_room(self, state: State, more: int) -> bool:
        """Free garbage until `more` bytes of memory fit; return False, having done nothing, where they cannot.

        The work is proportional to `more`.
        """
        if state.memory + more <= self.memory:
            return True
        if state.memory - state.garbage.memory + more > self.memory:
            return False
        while state.garbage.any and state.memory + more > self.memory:
            state.garbage.collect(1)
        return True

    def check_subscribe(self, state: State, name: bytes) -> None:
        """Raise `too-many-topics` or `too-many-subscriptions` (429) for a new subscription to a topic."""
        if name not in state.topics and len(state.topics) >= self.topics:
            raise FanmailError("too-many-topics", f"the broker holds {self.topics} topics, its ceiling")
        if state.subscriptions >= self.subscriptions:
            raise FanmailError(
                "too-many-subscriptions", f"the broker holds {self.subscriptions} subscriptions, its ceiling"
            )
        own = len(state.topics[name].subscriptions) if name in state.topics else 0
        if not room(self.subscriptions, state.subscriptions, own, self.subscription_share):
            raise FanmailError(
                "too-many-subscriptions",
                f"the topic has {own} subscriptions, its share: {self.subscription_share} % of what other topics "
                f"leave of the broker's {self.subscriptions}",
            )

    def check_delay(self, state: State, topic: bytes, weight: int) -> None:
        """Raise `too-many-delayed` (429) for one more delayed publish that takes `weight` bytes of memory."""
        delayed = state.delayed
        if len(delayed) >= self.delayed:
            raise FanmailError("too-many-delayed", f"the broker holds {self.delayed} delayed publishes, its ceiling")
        if delayed.weight + weight > self.delayed_memory:
            raise FanmailError(
                "too-many-delayed",
                f"delayed publishes take {delayed.weight} bytes of the broker's memory and this adds {weight}; "
                f"their ceiling is {self.delayed_memory}, a quarter of it",
            )
        own, share = delayed.count(topic), f"{self.topic_share} % of what other topics leave of the broker's"
        if not room(self.delayed, len(delayed), own, self.topic_share):
            raise FanmailError(
                "too-many-delayed", f"the topic has {own} delayed publishes, its share: {share} {self.delayed}"
            )
        own = delayed.usage.of(topic)
        if not room(self.delayed_memory, delayed.weight, own, self.topic_share, weight):
            raise FanmailError(
                "too-many-delayed",
                f"delayed publishes of the topic take {own} bytes and this adds {weight}; its share is {share} "
                f"{self.delayed_memory}",
            )

    def room_to_hold(self, state: State, topic: bytes, unit: int) -> int:
        """Return how many more things of `unit` bytes each may be held under leases of a topic."""
        return room(
            self.held_memory,
            state.delivery_totals.held.total,
            state.delivery_totals.held.of(topic),
            self.topic_share,
            unit,
        )
