"""When the leases and delays of one user end: messages by moment, as those that are leased together share one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from broker.thresholds import DEFAULT, Thresholds

_STEPS = 4
"""Moments that are looked at per moment that is over, while too many are over."""


class LeaseDeadlines:
    """One entry per moment, microseconds of the monotonic clock; a message has one moment at most.

    A moment that is over, as all its messages are done, stays in the heap for a while. There are at most three times as
    many of those as others. The clean-up is incremental, as in `Timers`.
    """

    __slots__ = ("_heap", "_live", "_messages", "_old", "_slack")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._slack = thresholds.slack
        self._messages: dict[int, int | dict[int, None] | None] = {}
        """By moment: one sequence number, or several in the order in which they were added; None: it is over."""
        self._live = 0
        """Moments that are not over."""
        self._heap: list[int] = []
        self._old: list[int] = []
        """The moments, each in one of both heaps; the second is being emptied."""

    def add(self, seqs: Sequence[int], due_us: int) -> None:
        """Let messages, at least one, end at a moment; they have none."""
        found = self._messages.get(due_us)
        if found is None:
            if due_us not in self._messages:
                heapq.heappush(self._heap, due_us)
            self._messages[due_us] = seqs[0] if len(seqs) == 1 else dict.fromkeys(seqs)
            self._live += 1
        elif isinstance(found, dict):
            found.update(dict.fromkeys(seqs))
        else:
            self._messages[due_us] = dict.fromkeys((found, *seqs))

    def drop(self, seq: int, due_us: int) -> None:
        """Forget a message, where it ends at that moment."""
        found = self._messages.get(due_us)
        if isinstance(found, dict):
            found.pop(seq, None)
            if found:
                return
        elif found != seq:
            return
        self._messages[due_us] = None
        self._live -= 1
        self._clean_up()

    def next_due(self) -> int | None:
        """Return the first moment; None where there is none."""
        messages = self._messages
        for heap in (self._heap, self._old):
            while heap and messages[heap[0]] is None:
                del messages[heapq.heappop(heap)]
        firsts = [heap[0] for heap in (self._heap, self._old) if heap]
        return min(firsts, default=None)

    def pop_due(self, now_us: int, most: int) -> list[int]:
        """Forget what is due and return it in order, at most `most` messages."""
        popped: list[int] = []
        while len(popped) < most and (due_us := self.next_due()) is not None and due_us <= now_us:
            found = self._messages[due_us]
            assert found is not None, "that moment is over"
            seqs = list(islice(found, most - len(popped))) if isinstance(found, dict) else [found]
            for seq in seqs:
                self.drop(seq, due_us)
            popped += seqs
        return popped

    def _clean_up(self) -> None:
        if not self._old:
            if len(self._heap) <= 2 * self._live + self._slack:
                return
            self._old, self._heap = self._heap, []
        for _ in range(min(_STEPS, len(self._old))):
            due_us = self._old.pop()  # without its last entry a heap is still a heap
            if self._messages[due_us] is None:
                del self._messages[due_us]
            else:
                heapq.heappush(self._heap, due_us)
