"""Who uses how much of what all share, so that ceilings hit the greatest user."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from broker.thresholds import DEFAULT, Thresholds

K = TypeVar("K")


class Usage(Generic[K]):
    """An amount per holder, and their sum. Every step is O(1)."""

    __slots__ = ("_of", "total")

    def __init__(self) -> None:
        self._of: dict[K, int] = {}
        self.total = 0

    def of(self, holder: K) -> int:
        """Return the amount of a holder, 0 where it has none."""
        return self._of.get(holder, 0)

    def add(self, holder: K, amount: int) -> None:
        """Add to a holder's amount; `amount` may be negative."""
        self.total += amount
        holds = self._of.get(holder, 0) + amount
        if holds:
            self._of[holder] = holds
        else:
            self._of.pop(holder, None)


class RankedUsage(Usage[K]):
    """Usage that knows the greatest holder. Every step is O(log n), amortised."""

    __slots__ = ("_heap", "_slack")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        super().__init__()
        self._slack = thresholds.slack
        self._heap: list[tuple[int, K]] = []
        """Negated amounts. Each holder has an entry of at least its amount; entries may be stale."""

    def add(self, holder: K, amount: int) -> None:
        super().add(holder, amount)
        if amount <= 0:
            return
        heapq.heappush(self._heap, (-self._of.get(holder, 0), holder))
        if len(self._heap) > 2 * len(self._of) + self._slack:
            self._heap = sorted((-holds, each) for each, holds in self._of.items())

    def heaviest(self) -> K:
        """Return the holder with the greatest amount, the first by name among equals. There must be one."""
        heap = self._heap
        while True:
            amount, holder = heap[0]
            holds = self._of.get(holder, 0)
            if holds == -amount:
                return holder
            if holds:
                heapq.heapreplace(heap, (-holds, holder))
            else:
                heapq.heappop(heap)


class UserUsage:
    """Usage of users within topics: the topics share the ceiling, and the users of a topic its share."""

    __slots__ = ("_thresholds", "_users", "topics")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._thresholds = thresholds
        self.topics: RankedUsage[bytes] = RankedUsage(thresholds)
        self._users: dict[bytes, RankedUsage[bytes]] = {}

    def add(self, topic: bytes, user: bytes, amount: int) -> None:
        """Add to a user's amount; `amount` may be negative."""
        users = self._users.get(topic)
        if users is None:
            users = self._users[topic] = RankedUsage(self._thresholds)
        self.topics.add(topic, amount)
        users.add(user, amount)
        if not users.total:
            del self._users[topic]

    def heaviest(self) -> tuple[bytes, bytes]:
        """Return the topic with the greatest amount, and its user with the greatest. There must be one."""
        topic = self.topics.heaviest()
        return topic, self._users[topic].heaviest()
