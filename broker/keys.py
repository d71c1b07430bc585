"""Idempotency keys: which publishes were made under which key, and what was answered."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from msgspec import Struct

from broker.shares import Ranking
from broker.thresholds import DEFAULT, Thresholds

KEY_COST = 450
"""Bytes of memory of a remembered key beside the key itself."""


class Remembered(Struct, gc=False):
    """A publish and its answer. Persists."""

    digest: bytes
    """Of the request."""
    at: int
    """Microseconds of the monotonic clock."""
    subscribers: int
    seq: int
    due: int
    """Milliseconds of the broker's time, of a delayed publish; else 0."""


class Named(NamedTuple):
    """A key and its topic."""

    topic: bytes
    key: bytes


class Keys:
    """Of all topics, each remembered in the order of their times."""

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._all: OrderedDict[Named, None] = OrderedDict()
        self._topics: dict[bytes, OrderedDict[bytes, Remembered]] = {}
        self._shares: Ranking[bytes] = Ranking(thresholds)
        """Estimated bytes of memory, by topic."""

    @property
    def weight(self) -> int:
        """Estimated bytes of memory."""
        return self._shares.total

    def __len__(self) -> int:
        return len(self._all)

    def get(self, topic: bytes, key: bytes) -> Remembered | None:
        """What was made under this key."""
        keys = self._topics.get(topic)
        return keys.get(key) if keys else None

    def remember(self, topic: bytes, key: bytes, remembered: Remembered) -> None:
        """A new key, younger than all others."""
        self._topics.setdefault(topic, OrderedDict())[key] = remembered
        self._all[Named(topic, key)] = None
        self._shares.add(topic, key_weight(topic, key))

    def forget(self, topic: bytes, key: bytes) -> None:
        """The key may be used again."""
        keys = self._topics[topic]
        del keys[key]
        if not keys:
            del self._topics[topic]
        self._forgotten(topic, key)

    def forget_topic(self, topic: bytes) -> None:
        """All keys of a topic."""
        for key in self._topics.pop(topic, ()):
            self._forgotten(topic, key)

    def count(self, topic: bytes) -> int:
        """How many keys of a topic are remembered."""
        return len(self._topics.get(topic, ()))

    def oldest(self) -> Named | None:
        """The oldest key of all."""
        return next(iter(self._all), None)

    def oldest_of(self, topic: bytes) -> bytes:
        """The oldest key of a topic, which must have one."""
        return next(iter(self._topics[topic]))

    def heaviest(self) -> bytes:
        """The topic whose keys take most memory; there must be a key."""
        return self._shares.heaviest()

    def oldest_at(self) -> int | None:
        """When the oldest was remembered."""
        named = self.oldest()
        return self._topics[named.topic][named.key].at if named else None

    def _forgotten(self, topic: bytes, key: bytes) -> None:
        del self._all[Named(topic, key)]
        self._shares.add(topic, -key_weight(topic, key))


def key_weight(topic: bytes, key: bytes) -> int:
    """Estimated bytes of memory of a remembered key."""
    return KEY_COST + len(topic) + len(key)
