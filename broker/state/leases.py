"""The messages of one user that were delivered under a lease and are not acknowledged (`docs/http-api.md`).

leased   --expired, or released-->            waiting    for redelivery, before newer messages
leased   --released with a delay-->           delayed    the same, but not before its time
any      --acknowledged-->                    gone
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from msgspec import Struct

from broker.records import DeadLetter
from broker.state.lease_deadlines import LeaseDeadlines
from broker.thresholds import DEFAULT, Thresholds

DEAD_LETTER_COST = 320
"""Bytes of memory of a dead letter beside its content."""
HELD_COST = 340
"""Bytes of memory of one held message: the entry, its deadline, its places in the heaps."""


class HeldEntry(Struct, gc=False):
    """One held message. Persists."""

    attempt: int
    """Number of deliveries, never reset: no two leases of a message have the same."""
    until_us: int = 0
    """End of its lease, microseconds of the monotonic clock; 0: not leased."""
    due_us: int = 0
    """If not leased, the earliest redelivery in the same clock; 0: now."""
    letter: DeadLetter | None = None
    """The message itself, if it was put back from the dead-letter list."""

    @property
    def deliveries(self) -> int:
        """Return the number of deliveries since it was last put back from the dead-letter list, or ever."""
        return self.attempt if self.letter is None else self.attempt - self.letter.attempt


class Leases:
    """The held messages of one user. Every step is O(log n) in their number."""

    __slots__ = ("_latest", "_letter_bytes", "_order", "_ready", "_slack", "deadlines", "held", "open", "waiting")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._slack = thresholds.slack
        self.held: dict[int, HeldEntry] = {}
        """By sequence number."""
        self.open = 0
        """Number of leased messages."""
        self.waiting = 0
        """Number of messages that may be redelivered now."""
        self.deadlines = LeaseDeadlines(thresholds)
        self._ready: list[int] = []
        """Heap of messages that may be redelivered; entries may be stale."""
        self._order: list[int] = []
        """Heap of held messages of the log; entries may be stale."""
        self._latest = 0
        """The greatest number that ever was in that heap."""
        self._letter_bytes = 0

    @property
    def weight(self) -> int:
        """Return the estimated bytes of memory."""
        return len(self.held) * HELD_COST + self._letter_bytes

    def oldest(self) -> int | None:
        """Return the smallest held sequence number of the log."""
        order = self._order
        while order:
            held = self.held.get(order[0])
            if held is not None and held.letter is None:
                return order[0]
            heapq.heappop(order)
        return None

    def next_ready(self) -> int | None:
        """Return the first sequence number to redeliver; None where nothing waits."""
        ready = self._ready
        while ready:
            if self._waits(ready[0]):
                return ready[0]
            heapq.heappop(ready)
        return None

    def ready(self) -> Iterator[int]:
        """Iterate over what waits, in order, each once or more. Nothing may change meanwhile."""
        ready = self._ready
        indices = [(ready[0], 0)] if ready else []
        while indices:  # children of a heap's entry are not smaller
            seq, index = heapq.heappop(indices)
            for behind in (2 * index + 1, 2 * index + 2):
                if behind < len(ready):
                    heapq.heappush(indices, (ready[behind], behind))
            if self._waits(seq):
                yield seq

    def below(self, head: int) -> tuple[int, ...]:
        """Return, in order, the held messages that the log has dropped."""
        found, order, indices = set(), self._order, [0]
        while indices:  # children of a heap's entry are greater
            index = indices.pop()
            if index < len(order) and order[index] < head:
                indices += (2 * index + 1, 2 * index + 2)
                held = self.held.get(order[index])
                if held is not None and held.letter is None:
                    found.add(order[index])
        return tuple(sorted(found))

    def lease(self, first: int, count: int, attempt: int, until_us: int) -> None:
        """Lease messages with consecutive numbers as delivery number `attempt`, or extend their leases."""
        seqs, held = range(first, first + count), self.held
        if held.keys().isdisjoint(seqs):
            held.update(zip(seqs, [HeldEntry(attempt, until_us) for _ in seqs], strict=True))
            self._put_in_order(seqs)
        else:
            for seq in seqs:
                self._lease_anew(seq, attempt, until_us)
        self.open += count
        self.deadlines.add(seqs, until_us)

    def _lease_anew(self, seq: int, attempt: int, until_us: int) -> None:
        held = self.held.get(seq)
        if held is None:
            self.held[seq] = HeldEntry(attempt, until_us)
            self._put_in_order(range(seq, seq + 1))
        else:
            self._uncount(seq, held)
            held.attempt, held.until_us, held.due_us = attempt, until_us, 0

    def _put_in_order(self, seqs: range) -> None:
        if seqs[0] > self._latest:
            self._order += seqs  # greater than all others: it still is a heap
        else:
            for seq in seqs:
                heapq.heappush(self._order, seq)
        self._latest = max(self._latest, seqs[-1])

    def give_back(self, seq: int, due_us: int) -> None:
        """End a lease; redelivery is possible from `due_us` on, 0: now."""
        held = self.held[seq]
        self._uncount(seq, held)
        held.until_us, held.due_us = 0, due_us
        if due_us:
            self.deadlines.add((seq,), due_us)
        else:
            self._await(seq)

    def put_back(self, letter: DeadLetter) -> None:
        """Hold a dead letter for redelivery.

        Deliveries are counted from 0; attempts continue, because receipts name them.
        """
        self.held[letter.seq] = HeldEntry(letter.attempt, letter=letter)
        self._letter_bytes += letter.size + DEAD_LETTER_COST
        self._await(letter.seq)

    def finish(self, seqs: Iterable[int]) -> None:
        """Stop holding messages."""
        for seq in seqs:
            held = self.held.pop(seq)
            self._uncount(seq, held)
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

    def _uncount(self, seq: int, held: HeldEntry) -> None:
        if held.until_us:
            self.open -= 1
            self.deadlines.drop(seq, held.until_us)
        elif held.due_us:
            self.deadlines.drop(seq, held.due_us)
        else:
            self.waiting -= 1
