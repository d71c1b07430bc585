"""A heap of deadlines, one for each key."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from broker.thresholds import DEFAULT, Thresholds

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """What is due when. A deadline that is set anew or dropped leaves a stale entry in the heap; there are never more
    of those than live ones, so that a deadline far away costs nothing once it is of no interest.
    """

    __slots__ = ("_due", "_heap", "_order", "_slack")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._slack = thresholds.slack
        self._heap: list[tuple[int, int, K]] = []
        self._due: dict[K, int] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def get(self, key: K) -> int | None:
        """When a key is due."""
        return self._due.get(key)

    def set(self, key: K, due: int) -> None:
        """The key is due then, and not when it was before. The unit is the caller's."""
        if self._due.get(key) == due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._clean_up()

    def set_earlier(self, key: K, due: int) -> None:
        """The key is due then, or before where it was to be."""
        before = self._due.get(key)
        if before is None or due < before:
            self.set(key, due)

    def drop(self, key: K) -> None:
        """The key is not due any more, if it was."""
        if self._due.pop(key, None) is not None:
            self._clean_up()

    def _clean_up(self) -> None:
        if len(self._heap) > 2 * len(self._due) + self._slack:
            live = {entry[2]: entry for entry in self._heap if self._due.get(entry[2]) == entry[0]}
            self._heap = sorted(live.values())

    def next_due(self) -> int | None:
        """When the first is due; None where there is none."""
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: int, most: int | None = None) -> Iterator[K]:
        """Takes out what is due, in order, at most `most` of it."""
        left = most
        while left != 0 and (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            if left is not None:
                left -= 1
            yield key
