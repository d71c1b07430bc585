"""Idempotency keys: which publishes were made under which key, and how they were answered."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from broker.state.slots import Slots
from broker.state.timers import Timers
from broker.state.usage import RankedUsage
from broker.thresholds import DEFAULT, Thresholds

KEY_COST = 450
"""Bytes of memory of a remembered key beside the key itself."""


class KnownPublish(Struct, gc=False):
    """A publish and its answer. Persists."""

    digest: bytes
    """Of the request."""
    at_us: int
    """Microseconds of the monotonic clock."""
    subscribers: int
    seq: int
    due_ms: int
    """Of a delayed publish, milliseconds of the broker's time; else 0."""


class TopicKey(NamedTuple):
    """A key and its topic."""

    topic: bytes
    key: bytes


class TopicKeys:
    """The keys of one topic, the oldest first, each with a number that grows with every key of the broker."""

    __slots__ = ("keys", "weight")

    def __init__(self) -> None:
        self.keys: OrderedDict[bytes, tuple[int, KnownPublish]] = OrderedDict()
        self.weight = 0
        """Estimated bytes of memory."""


class IdempotencyKeys:
    """The keys of all topics, in the order in which they were remembered.

    Every step is O(log n) in the number of topics.
    """

    def __init__(self, thresholds: Thresholds = DEFAULT, slots: Slots | None = None) -> None:
        """Create it; `slots` is told of the names that have any."""
        self._slots = slots or Slots()
        self._topics: dict[bytes, TopicKeys] = {}
        self._oldest: Timers[bytes] = Timers(thresholds)
        """The number of each topic's oldest key."""
        self._numbers = itertools.count()
        self._count = 0
        self._usage: RankedUsage[bytes] = RankedUsage(thresholds)
        """Estimated bytes of memory, by topic."""

    @property
    def weight(self) -> int:
        """Return the estimated bytes of memory."""
        return self._usage.total

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[TopicKey, KnownPublish]]:
        """Iterate over all keys, the oldest first."""
        found = [
            (number, TopicKey(topic, key), remembered)
            for topic, of in self._topics.items()
            for key, (number, remembered) in of.keys.items()
        ]
        return iter([(named, remembered) for _, named, remembered in sorted(found, key=lambda each: each[0])])

    def get(self, topic: bytes, key: bytes) -> KnownPublish | None:
        """Return the publish that was made under a key."""
        of = self._topics.get(topic)
        found = of.keys.get(key) if of else None
        return found[1] if found else None

    def remember(self, topic: bytes, key: bytes, remembered: KnownPublish) -> None:
        """Add a new key, younger than all others."""
        of = self._topics.get(topic)
        number = next(self._numbers)
        if of is None:
            of = self._topics[topic] = TopicKeys()
            self._oldest.set(topic, number)
            self._slots.add_name(topic)
        of.keys[key] = (number, remembered)
        self._weigh(topic, of, key_weight(topic, key), 1)

    def forget(self, topic: bytes, key: bytes) -> None:
        """Remove a key."""
        of = self._topics[topic]
        number, _ = of.keys.pop(key)
        self._weigh(topic, of, -key_weight(topic, key), -1)
        if not of.keys:
            del self._topics[topic]
            self._slots.remove_name(topic)
            self._oldest.drop(topic)
        elif self._oldest.get(topic) == number:
            self._oldest.set(topic, next(iter(of.keys.values()))[0])

    def forget_topic(self, topic: bytes) -> TopicKeys | None:
        """Remove and return all keys of a topic, to be freed later."""
        of = self._topics.pop(topic, None)
        if of is not None:
            self._slots.remove_name(topic)
            self._oldest.drop(topic)
            self._count -= len(of.keys)
            self._usage.add(topic, -of.weight)
        return of

    def count(self, topic: bytes) -> int:
        """Return the number of keys of a topic."""
        of = self._topics.get(topic)
        return len(of.keys) if of else 0

    def weight_of(self, topic: bytes) -> int:
        """Return the estimated bytes of memory of the keys of a topic."""
        return self._usage.of(topic)

    def of(self, topic: bytes) -> list[tuple[bytes, KnownPublish]]:
        """Return the keys of a topic, the oldest first."""
        of = self._topics.get(topic)
        return [(key, known) for key, (_, known) in of.keys.items()] if of else []

    def oldest(self) -> TopicKey | None:
        """Return the oldest key of all."""
        topic = self._oldest.first()
        return None if topic is None else TopicKey(topic, self.oldest_of(topic))

    def oldest_of(self, topic: bytes) -> bytes:
        """Return the oldest key of a topic, which must have one."""
        return next(iter(self._topics[topic].keys))

    def heaviest(self) -> bytes:
        """Return the topic whose keys take the most memory; there must be a key."""
        return self._usage.heaviest()

    def oldest_at(self) -> int | None:
        """Return when the oldest key was remembered."""
        named = self.oldest()
        return self._topics[named.topic].keys[named.key][1].at_us if named else None

    def _weigh(self, topic: bytes, of: TopicKeys, weight: int, count: int) -> None:
        of.weight += weight
        self._usage.add(topic, weight)
        self._count += count


def key_weight(topic: bytes, key: bytes) -> int:
    """Return the estimated bytes of memory of a key."""
    return KEY_COST + len(topic) + len(key)
