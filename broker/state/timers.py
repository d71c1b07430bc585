"""A heap of deadlines, one per key."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from broker.thresholds import DEFAULT, Thresholds

K = TypeVar("K", bound=Hashable)

_STEPS = 4
"""Stale entries that are cleaned up per deadline that is set or dropped."""


class Timers(Generic[K]):
    """Deadlines by key.

    A deadline that is set anew or dropped leaves a stale entry in the heap. There are at most three times as many of
    those as live ones, so that a distant deadline costs nothing once it is dropped. The clean-up is incremental: a heap
    with too many stale entries moves to a new one, a few entries at a time.
    """

    __slots__ = ("_due", "_heap", "_old", "_order", "_slack")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._slack = thresholds.slack
        self._heap: list[tuple[int, int, K]] = []
        self._old: list[tuple[int, int, K]] = []
        """The heap that is being emptied."""
        self._due: dict[K, int] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def get(self, key: K) -> int | None:
        """Return the deadline of a key."""
        return self._due.get(key)

    def set(self, key: K, due: int) -> None:
        """Set the deadline of a key. The unit is the caller's."""
        if self._due.get(key) == due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._clean_up()

    def set_earlier(self, key: K, due: int) -> None:
        """Set the deadline of a key unless it has an earlier one."""
        before = self._due.get(key)
        if before is None or due < before:
            self.set(key, due)

    def drop(self, key: K) -> None:
        """Remove the deadline of a key, if it has one."""
        if self._due.pop(key, None) is not None:
            self._clean_up()

    def _clean_up(self) -> None:
        if not self._old:
            if len(self._heap) <= 2 * len(self._due) + self._slack:
                return
            self._old, self._heap = self._heap, []
        for _ in range(min(_STEPS, len(self._old))):
            entry = self._old.pop()  # without its last entry a heap is still a heap
            if self._due.get(entry[2]) == entry[0]:
                heapq.heappush(self._heap, entry)

    def next_due(self) -> int | None:
        """Return the first deadline; None where there is none."""
        heap = self._first_heap()
        return heap[0][0] if heap else None

    def first(self) -> K | None:
        """Return the key that is due first; None where there is none."""
        heap = self._first_heap()
        return heap[0][2] if heap else None

    def _first_heap(self) -> list[tuple[int, int, K]]:
        """Return the heap with the first deadline on top; an empty one where there is none."""
        due = self._due
        for heap in (self._heap, self._old):
            while heap and due.get(heap[0][2]) != heap[0][0]:
                heapq.heappop(heap)
        if self._old and (not self._heap or self._old[0] < self._heap[0]):
            return self._old
        return self._heap

    def pop_due(self, now: int, most: int | None = None) -> Iterator[K]:
        """Remove what is due and yield it in order, at most `most` keys."""
        left = most
        while left != 0 and (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._first_heap())[2]
            del self._due[key]
            if left is not None:
                left -= 1
            yield key
