"""One heap of deadlines."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Timers(Generic[T]):
    """What is due when. Cancelling is up to who looks at what comes out: it may be of no interest any more."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._order = itertools.count()

    def add(self, due: int, what: T) -> None:
        """`due` in microseconds of the monotonic clock."""
        heapq.heappush(self._heap, (due, next(self._order), what))

    def next_due(self) -> int | None:
        """When the first is due; None where there is none."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, mono: int) -> Iterator[T]:
        """Takes out all that is due, in order."""
        while self._heap and self._heap[0][0] <= mono:
            yield heapq.heappop(self._heap)[2]
