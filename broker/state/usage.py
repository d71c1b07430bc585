"""Who holds how much of what all hold together, so that nobody's use costs somebody else."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from broker.thresholds import DEFAULT, Thresholds

K = TypeVar("K")


class Usage(Generic[K]):
    """An amount for each holder, and their sum. Every step is O(1)."""

    __slots__ = ("_of", "total")

    def __init__(self) -> None:
        self._of: dict[K, int] = {}
        self.total = 0

    def of(self, holder: K) -> int:
        """0 for who holds nothing."""
        return self._of.get(holder, 0)

    def add(self, holder: K, amount: int) -> None:
        """The holder has so much more, or less."""
        self.total += amount
        holds = self._of.get(holder, 0) + amount
        if holds:
            self._of[holder] = holds
        else:
            self._of.pop(holder, None)


class RankedUsage(Usage[K]):
    """Tells too who holds most. Every step is O(log n), amortised."""

    __slots__ = ("_heap", "_slack")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        super().__init__()
        self._slack = thresholds.slack
        self._heap: list[tuple[int, K]] = []
        """Negative amounts; each holder has an entry of at least what it holds, and there may be stale ones."""

    def add(self, holder: K, amount: int) -> None:
        super().add(holder, amount)
        if amount <= 0:
            return
        heapq.heappush(self._heap, (-self._of.get(holder, 0), holder))
        if len(self._heap) > 2 * len(self._of) + self._slack:
            self._heap = sorted((-holds, each) for each, holds in self._of.items())

    def heaviest(self) -> K:
        """Who holds most, of several with as much the first by name. There must be one."""
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
    """The same for users within topics: the topics share the ceiling, and the users of one share what that has."""

    __slots__ = ("_thresholds", "_users", "topics")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._thresholds = thresholds
        self.topics: RankedUsage[bytes] = RankedUsage(thresholds)
        self._users: dict[bytes, RankedUsage[bytes]] = {}

    def add(self, topic: bytes, user: bytes, amount: int) -> None:
        """The user has so much more, or less."""
        users = self._users.get(topic)
        if users is None:
            users = self._users[topic] = RankedUsage(self._thresholds)
        self.topics.add(topic, amount)
        users.add(user, amount)
        if not users.total:
            del self._users[topic]

    def heaviest(self) -> tuple[bytes, bytes]:
        """The topic that holds most, and the user who holds most of that. There must be one."""
        topic = self.topics.heaviest()
        return topic, self._users[topic].heaviest()
