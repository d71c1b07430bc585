"""How many messages of one read are sent and not confirmed. No clock here."""

from __future__ import annotations

from collections import deque

from common.protocol.ops import Receipt

WINDOW_BYTES = 256 * 1024
"""Bytes of bodies of one read that are sent and not confirmed, or one larger message."""


class CursorWindow:
    """Of a read with `after`: confirmed in order."""

    __slots__ = ("_most", "_most_bytes", "_sent", "size")

    def __init__(self, most: int, most_bytes: int = WINDOW_BYTES) -> None:
        """Set the messages and bytes that may be unconfirmed."""
        self._most = most
        self._most_bytes = most_bytes
        self._sent: deque[tuple[int, int]] = deque()
        """Number and size of each message."""
        self.size = 0

    def room(self) -> tuple[int, int]:
        """Return how many more messages, and bytes, may be sent."""
        return self._most - len(self._sent), self._most_bytes - self.size

    def add(self, seq: int, size: int) -> None:
        """Count a message that is sent."""
        self._sent.append((seq, size))
        self.size += size

    def confirm(self, seq: int) -> None:
        """Forget messages up to a number."""
        sent = self._sent
        while sent and sent[0][0] <= seq:
            self.size -= sent.popleft()[1]


class LeaseWindow:
    """Of a read with `lease`: each message until it is acknowledged, given back, or its lease is over."""

    __slots__ = ("_most", "_most_bytes", "_sent", "size")

    def __init__(self, most: int, most_bytes: int = WINDOW_BYTES) -> None:
        """Set the messages and bytes that may be unconfirmed."""
        self._most = most
        self._most_bytes = most_bytes
        self._sent: dict[tuple[str, int, int], tuple[int, float]] = {}
        """Size, and end of the lease in monotonic seconds, by receipt."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._sent)

    def set_most(self, most: int) -> None:
        """Set the messages that may be unconfirmed."""
        self._most = most

    def room(self) -> tuple[int, int]:
        """Return how many more messages, and bytes, may be sent."""
        return self._most - len(self._sent), self._most_bytes - self.size

    def add(self, receipt: tuple[str, int, int], size: int, until: float) -> None:
        """Count a message that is sent: its epoch, number and attempt."""
        self._sent[receipt] = size, until
        self.size += size

    def remove(self, receipt: Receipt) -> None:
        """Forget a message, where it is known."""
        found = self._sent.pop((receipt.epoch, receipt.seq, receipt.attempt), None)
        if found is not None:
            self.size -= found[0]

    def extend(self, receipt: Receipt, until: float) -> None:
        """Set the end of a lease, where it is known."""
        key = receipt.epoch, receipt.seq, receipt.attempt
        if key in self._sent:
            self._sent[key] = self._sent[key][0], until

    def drop_expired(self, now: float) -> None:
        """Forget the messages whose leases are over."""
        for key in [key for key, (_, until) in self._sent.items() if until <= now]:
            self.size -= self._sent.pop(key)[0]

    def take_all(self) -> list[Receipt]:
        """Forget and return the receipts of all messages."""
        receipts = [Receipt(*key) for key in self._sent]
        self._sent.clear()
        self.size = 0
        return receipts
