"""A topic: one log of messages and the positions of its subscribers in it.

One body is stored however many subscribers there are. Readers are counted per piece: `Piece.readers` is the
number of subscriptions whose next message lies in it, `Topic.tail_readers` that of those who have everything.
A piece is freed when the head of the log passes it, which is when no reader stands at or before it; so
publishing costs the same for any number of subscribers, and every step is O(1) amortised.
"""

from __future__ import annotations

from msgspec import Struct

from broker.subscription import Subscription

_COMPACT = 64
"""Freed places at the front of the list that are worth a copy of the rest."""


class Piece(Struct, gc=False):
    """One publish. Persists but for `readers`, which follows from the subscriptions."""

    time: int
    """Milliseconds since 1970 UTC."""
    headers: bytes
    body: bytes
    readers: int

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body)


class Topic:
    """The log and the subscriptions of one topic. Changed by `State.apply` only."""

    __slots__ = ("_head", "_pieces", "bytes", "epoch", "name", "next_seq", "number", "subscriptions", "tail_readers")

    def __init__(self, name: bytes, number: int, epoch: str, next_seq: int) -> None:
        self.name = name
        self.number = number
        self.epoch = epoch
        self.next_seq = next_seq
        self.subscriptions: dict[bytes, Subscription] = {}
        self.tail_readers = 0
        self.bytes = 0
        """Content bytes of the stored messages."""
        self._pieces: list[Piece] = []
        self._head = 0
        """Index of the oldest live piece; before it the list holds freed ones."""

    @property
    def messages(self) -> int:
        """How many messages are stored."""
        return len(self._pieces) - self._head

    @property
    def head_seq(self) -> int:
        """Sequence number of the oldest stored message, `next_seq` where there is none."""
        return self.next_seq - self.messages

    def piece(self, seq: int) -> Piece:
        """The piece that holds a stored message."""
        return self._pieces[len(self._pieces) - (self.next_seq - seq)]

    def append(self, time: int, headers: bytes, body: bytes) -> None:
        """A message at `next_seq`; whoever had everything waits for it now."""
        piece = Piece(time, headers, body, self.tail_readers)
        self._pieces.append(piece)
        self.tail_readers = 0
        self.bytes += piece.size
        self.next_seq += 1

    def place(self, user: bytes, position: int) -> int:
        """Puts a user's subscription at a position, new or moved. Returns how many messages that freed."""
        self._enter(position)
        subscription = self.subscriptions.get(user)
        if subscription is None:
            self.subscriptions[user] = Subscription(position)
            return 0
        before, subscription.position = subscription.position, position
        return self._leave(before)

    def remove(self, user: bytes) -> int:
        """Ends a user's subscription. Returns how many messages that freed."""
        return self._leave(self.subscriptions.pop(user).position)

    def _enter(self, position: int) -> None:
        if position == self.next_seq:
            self.tail_readers += 1
        else:
            self.piece(position).readers += 1

    def _leave(self, position: int) -> int:
        if position == self.next_seq:
            self.tail_readers -= 1
            return 0
        piece = self.piece(position)
        piece.readers -= 1
        return self._free_head() if piece.readers == 0 and position == self.head_seq else 0

    def _free_head(self) -> int:
        pieces, start = self._pieces, self._head
        head, end = start, len(pieces)
        while head < end and pieces[head].readers == 0:
            self.bytes -= pieces[head].size
            pieces[head] = _FREED
            head += 1
        if head == end:
            pieces.clear()
            self._head = 0
        elif head >= _COMPACT and head * 2 >= end:
            del pieces[:head]
            self._head = 0
        else:
            self._head = head
        return head - start


_FREED = Piece(0, b"", b"", 0)
