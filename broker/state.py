"""All that a broker holds. `apply(record)` is the only thing that changes it.

Deterministic: no clock, random, socket or disk. What a store gives back on `load()` rebuilds it through the
same `apply`.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.records import (
    MessageStored,
    Record,
    StoreOpened,
    SubscriptionEnded,
    SubscriptionSet,
    TopicBegan,
    TopicEnded,
    Trimmed,
)
from broker.topic import Topic

# Bytes of memory beside names and content, measured by bench/memory.py on CPython 3.11 and rounded up.
TOPIC_COST = 800
SUBSCRIPTION_COST = 192
MESSAGE_COST = 256


class State:
    """Topics by name, and gauges that are kept up rather than counted."""

    def __init__(self) -> None:
        self.store_id = ""
        self.topics_begun = 0
        self.topics: dict[bytes, Topic] = {}
        self.subscriptions = 0
        self.messages = 0
        self.pieces = 0
        """Single messages and batches."""
        self.content_bytes = 0
        """Bodies and kept headers."""
        self.name_bytes = 0
        """Names of topics and users."""
        self._trimmed: dict[bytes, None] = {}
        """Topics whose head moved, in the order in which it did: a set has another order in every process."""
        self._apply: dict[type[Record], Callable[..., None]] = {
            StoreOpened: self._store_opened,
            TopicBegan: self._topic_began,
            TopicEnded: self._topic_ended,
            MessageStored: self._message_stored,
            SubscriptionSet: self._subscription_set,
            SubscriptionEnded: self._subscription_ended,
        }

    @property
    def memory(self) -> int:
        """Estimated bytes in memory; what the `memory` setting limits."""
        return (
            self.content_bytes
            + self.name_bytes
            + self.pieces * MESSAGE_COST
            + self.subscriptions * SUBSCRIPTION_COST
            + len(self.topics) * TOPIC_COST
        )

    def apply(self, record: Record) -> None:
        """Makes the change that the record describes; the record must fit the state."""
        self._apply[type(record)](record)

    def take_trims(self) -> list[Record]:
        """One `Trimmed` for each live topic whose head moved since the last call."""
        if not self._trimmed:
            return []
        moved = [self.topics[name] for name in self._trimmed if name in self.topics]
        self._trimmed.clear()
        return [Trimmed(topic.name, topic.head_seq) for topic in moved]

    def _store_opened(self, record: StoreOpened) -> None:
        self.store_id = record.store_id
        self.topics_begun = record.topics_begun

    def _topic_began(self, record: TopicBegan) -> None:
        epoch = f"{self.store_id}{record.number:x}"
        self.topics[record.topic] = Topic(record.topic, record.number, epoch, record.next_seq)
        self.topics_begun = max(self.topics_begun, record.number)
        self.name_bytes += len(record.topic)

    def _topic_ended(self, record: TopicEnded) -> None:
        del self.topics[record.topic]
        self.name_bytes -= len(record.topic)

    def _message_stored(self, record: MessageStored) -> None:
        self.topics[record.topic].append(record.time, record.headers, record.body, record.count, record.offsets)
        self.messages += record.count
        self.pieces += 1
        self.content_bytes += len(record.headers) + len(record.body) + len(record.offsets)

    def _subscription_set(self, record: SubscriptionSet) -> None:
        topic = self.topics[record.topic]
        if record.user not in topic.subscriptions:
            self.subscriptions += 1
            self.name_bytes += len(record.user)
        before = (topic.bytes, topic.pieces_stored)
        self._freed(topic, before, topic.place(record.user, record.position))

    def _subscription_ended(self, record: SubscriptionEnded) -> None:
        topic = self.topics[record.topic]
        before = (topic.bytes, topic.pieces_stored)
        self._freed(topic, before, topic.remove(record.user))
        self.subscriptions -= 1
        self.name_bytes -= len(record.user)

    def _freed(self, topic: Topic, before: tuple[int, int], messages: int) -> None:
        """`before` are the topic's bytes and pieces."""
        if messages:
            self.messages -= messages
            self.content_bytes -= before[0] - topic.bytes
            self.pieces -= before[1] - topic.pieces_stored
            self._trimmed[topic.name] = None
