"""How many messages of one read are sent and not confirmed. No clock here."""

from __future__ import annotations

from bisect import bisect_right
from itertools import repeat

from common.protocol.ops import Receipt

GATHER_S = 0.002
"""Time for which a read whose window is nearly full waits for more acknowledgements: with one per message, client and
broker would work in steps of a few messages. It never waits longer: a client may acknowledge only a whole window.
"""
WINDOW_BYTES = 256 * 1024
"""Bytes of bodies of one read that are sent and not confirmed, or one larger message."""


class _Window:
    """What both have in common."""

    __slots__ = ("_most", "_most_bytes", "size", "unconfirmed")

    def __init__(self, most: int, most_bytes: int = WINDOW_BYTES) -> None:
        """Set the messages and bytes that may be unconfirmed."""
        self._most = most
        self._most_bytes = most_bytes
        self.size = 0
        """Bytes that are."""
        self.unconfirmed: tuple[str, int] | None = None
        """Of a cursor: what the client has acknowledged and the broker was not told; the next opening tells it."""

    def __len__(self) -> int:
        """Return the messages that are."""
        raise NotImplementedError

    def room(self) -> tuple[int, int]:
        """Return how many more messages, and bytes, may be sent."""
        return self._most - len(self), self._most_bytes - self.size

    @property
    def scarce(self) -> bool:
        """Return whether less than a quarter is free."""
        messages, size = self.room()
        return 4 * messages < self._most or 4 * size < self._most_bytes


class CursorWindow(_Window):
    """Of a read with `after`: confirmed in order."""

    __slots__ = ("_seqs", "_sizes")

    def __init__(self, most: int, most_bytes: int = WINDOW_BYTES) -> None:
        super().__init__(most, most_bytes)
        self._seqs: list[int] = []
        self._sizes: list[int] = []
        """Number and size of each message, in order."""

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, seqs: list[int], sizes: list[int]) -> None:
        """Count messages that are sent."""
        self._seqs += seqs
        self._sizes += sizes
        self.size += sum(sizes)

    def confirm(self, seq: int) -> None:
        """Forget messages up to a number."""
        if self.unconfirmed is not None and self.unconfirmed[1] <= seq:
            self.unconfirmed = None
        done = bisect_right(self._seqs, seq)
        self.size -= sum(self._sizes[:done])
        del self._seqs[:done], self._sizes[:done]


class LeaseWindow(_Window):
    """Of a read with `lease`: each message until it is acknowledged, given back, or its lease is over."""

    __slots__ = ("_epoch", "_sent")

    def __init__(self, most: int, most_bytes: int = WINDOW_BYTES) -> None:
        super().__init__(most, most_bytes)
        self._epoch = ""
        """The life of the topic: leases end with it."""
        self._sent: dict[int, tuple[int, int, float]] = {}
        """Attempt, size, and end of the lease in monotonic seconds, by number."""

    def __len__(self) -> int:
        return len(self._sent)

    def set_most(self, most: int) -> None:
        """Set the messages that may be unconfirmed."""
        self._most = most

    def add(self, epoch: str, seqs: list[int], attempts: list[int], sizes: list[int], until: float) -> None:
        """Count messages that are sent; a lease of one of them that was known is over."""
        sent = self._sent
        if epoch != self._epoch:
            sent.clear()
            self._epoch, self.size = epoch, 0
        if not sent.keys().isdisjoint(seqs):
            self.size -= sum(sent.pop(seq)[1] for seq in seqs if seq in sent)
        sent.update(zip(seqs, zip(attempts, sizes, repeat(until), strict=False), strict=True))
        self.size += sum(sizes)

    def remove(self, receipts: list[Receipt]) -> None:
        """Forget messages, where they are known."""
        sent, epoch = self._sent, self._epoch
        for receipt in receipts:
            found = sent.get(receipt.seq)
            if found is not None and found[0] == receipt.attempt and receipt.epoch == epoch:
                del sent[receipt.seq]
                self.size -= found[1]

    def extend(self, receipt: Receipt, until: float) -> None:
        """Set the end of a lease, where it is known."""
        found = self._sent.get(receipt.seq)
        if found is not None and found[0] == receipt.attempt and receipt.epoch == self._epoch:
            self._sent[receipt.seq] = *found[:2], until

    def drop_expired(self, now: float) -> None:
        """Forget the messages whose leases are over."""
        for seq in [seq for seq, (_, _, until) in self._sent.items() if until <= now]:
            self.size -= self._sent.pop(seq)[1]

    def take_all(self) -> list[Receipt]:
        """Forget and return the receipts of all messages."""
        receipts = [Receipt(self._epoch, seq, attempt) for seq, (attempt, _, _) in self._sent.items()]
        self._sent.clear()
        self.size = 0
        return receipts


Window = CursorWindow | LeaseWindow
