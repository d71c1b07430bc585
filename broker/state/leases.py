"""The messages of one user that were handed out under a lease and are not done (`docs/http-api.md`).

leased   --its time is up, or given back-->  waiting    to be handed out again, before newer messages
leased   --given back with a delay-->        delayed    the same, but not before its time
any      --acknowledged-->                   gone
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from msgspec import Struct

from broker.records import DeadLetter
from broker.state.timers import Timers
from broker.thresholds import DEFAULT, Thresholds

DEAD_LETTER_COST = 320
"""Bytes of memory of a letter beside its content."""
HELD_COST = 340
"""Bytes of memory of one held message: itself, its deadline, its places in the heaps."""


class HeldEntry(Struct, gc=False):
    """One message. Persists."""

    attempt: int
    """How many times it has been handed out, counted for good: no two leases of a message have the same."""
    until_us: int = 0
    """End of its lease in microseconds of the monotonic clock; 0: it is not leased."""
    due_us: int = 0
    """Where it is not leased: when it may be handed out again, in the same clock; 0: now."""
    letter: DeadLetter | None = None
    """The message itself, where it is kept apart from the log."""

    @property
    def deliveries(self) -> int:
        """How many times it has been handed out since it was put back from the dead list, or ever."""
        return self.attempt if self.letter is None else self.attempt - self.letter.attempt


class Leases:
    """Every step is O(log n) in what is held."""

    __slots__ = ("_letter_bytes", "_order", "_ready", "_slack", "deadlines", "held", "open", "waiting")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._slack = thresholds.slack
        self.held: dict[int, HeldEntry] = {}
        """By sequence number."""
        self.open = 0
        """How many are leased."""
        self.waiting = 0
        """How many may be handed out again now."""
        self.deadlines: Timers[int] = Timers(thresholds)
        """When a lease or a delay ends, by sequence number, in microseconds of the monotonic clock."""
        self._ready: list[int] = []
        """Heap of what waits; entries may be stale."""
        self._order: list[int] = []
        """Heap of what is held of the log; entries may be stale."""
        self._letter_bytes = 0

    @property
    def weight(self) -> int:
        """Estimated bytes of memory."""
        return len(self.held) * HELD_COST + self._letter_bytes

    def oldest(self) -> int | None:
        """The smallest sequence number that is held of the log."""
        order = self._order
        while order:
            held = self.held.get(order[0])
            if held is not None and held.letter is None:
                return order[0]
            heapq.heappop(order)
        return None

    def next_ready(self) -> int | None:
        """The sequence number that is to be handed out first; None where nothing waits."""
        ready = self._ready
        while ready:
            if self._waits(ready[0]):
                return ready[0]
            heapq.heappop(ready)
        return None

    def ready(self) -> Iterator[int]:
        """What waits, in order, one or more times each. Only while nothing changes."""
        ready = self._ready
        indices = [(ready[0], 0)] if ready else []
        while indices:  # what is behind an entry of a heap is not smaller
            seq, index = heapq.heappop(indices)
            for behind in (2 * index + 1, 2 * index + 2):
                if behind < len(ready):
                    heapq.heappush(indices, (ready[behind], behind))
            if self._waits(seq):
                yield seq

    def below(self, head: int) -> tuple[int, ...]:
        """What is held of messages that the log has let go of, in order."""
        found, order, indices = set(), self._order, [0]
        while indices:  # what is behind an entry of a heap is greater
            index = indices.pop()
            if index < len(order) and order[index] < head:
                indices += (2 * index + 1, 2 * index + 2)
                held = self.held.get(order[index])
                if held is not None and held.letter is None:
                    found.add(order[index])
        return tuple(sorted(found))

    def lease(self, seq: int, attempt: int, until_us: int) -> None:
        """Handed out for the `attempt`-th time, or extended."""
        held = self.held.get(seq)
        if held is None:
            held = self.held[seq] = HeldEntry(attempt)
            heapq.heappush(self._order, seq)
        else:
            self._uncount(held)
            held.attempt, held.due_us = attempt, 0
        held.until_us = until_us
        self.open += 1
        self.deadlines.set(seq, until_us)

    def give_back(self, seq: int, due_us: int) -> None:
        """Not leased any more; to be handed out again from `due_us` on, 0 for now."""
        held = self.held[seq]
        self._uncount(held)
        held.until_us, held.due_us = 0, due_us
        if due_us:
            self.deadlines.set(seq, due_us)
        else:
            self.deadlines.drop(seq)
            self._await(seq)

    def put_back(self, letter: DeadLetter) -> None:
        """A dead letter waits again. Its deliveries are counted anew, its attempts go on: receipts name them."""
        self.held[letter.seq] = HeldEntry(letter.attempt, letter=letter)
        self._letter_bytes += letter.size + DEAD_LETTER_COST
        self._await(letter.seq)

    def finish(self, seq: int) -> None:
        """HeldEntry no more."""
        held = self.held.pop(seq)
        self._uncount(held)
        self.deadlines.drop(seq)
        if held.letter is not None:
            self._letter_bytes -= held.letter.size + DEAD_LETTER_COST

    def _await(self, seq: int) -> None:
        self.waiting += 1
        heapq.heappush(self._ready, seq)
        if len(self._ready) > 2 * self.waiting + self._slack:
            self._ready = sorted({each for each in self._ready if self._waits(each)})

    def _waits(self, seq: int) -> bool:
        held = self.held.get(seq)
        return held is not None and not held.until_us and not held.due_us

    def _uncount(self, held: HeldEntry) -> None:
        if held.until_us:
            self.open -= 1
        elif not held.due_us:
            self.waiting -= 1
