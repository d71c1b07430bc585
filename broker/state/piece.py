"""A piece of a topic's log: one publish or one batch. The broker cuts ranges out of it and never looks inside."""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct as Layout

from msgspec import Struct

MESSAGE_COST = 288
"""Bytes of memory of a piece beside its content, measured by bench/measures/memory.py, rounded up."""
_LENGTH = Layout(">I")
_OFFSET = 4
"""Bytes of one entry of `offsets`, a little-endian unsigned number."""


DAMAGED = 1
"""`expires` of a piece that cannot be read as it was written: it is passed over like one whose time is up."""


class Piece(Struct, gc=False):
    """Persists but for `readers`, which follows from the subscriptions."""

    first: int
    """Sequence number of its first message."""
    count: int
    time: int
    """Milliseconds of the broker's time."""
    headers: bytes
    """Kept headers, the same for all messages; opaque."""
    body: bytes | None
    """Of a single message its body; of a batch frames: 4 bytes of big-endian length, then the bytes, each. None where
    it is in the store only, and headers and offsets too.
    """
    offsets: bytes
    """Of a batch where its frames begin, and the end: `count` + 1 numbers. Empty for a single message."""
    readers: int
    """Subscriptions whose next message, or oldest one under a lease, lies in this piece."""
    expires: int = 0
    """Milliseconds of the broker's time from which on it is not handed out any more; 0: never."""
    id: int = 0
    """Grows with every piece of a broker; by it a store finds the piece."""
    size: int = 0
    """Bytes of content: headers, body and offsets."""

    @property
    def damaged(self) -> bool:
        """Whether it was found not to be what was written."""
        return self.expires == DAMAGED

    @property
    def end(self) -> int:
        """Sequence number behind its last message."""
        return self.first + self.count

    def single(self, seq: int) -> bytes:
        """The body of one message; the piece's body must be here."""
        body = self.body
        assert body is not None
        if not self.offsets:
            return body
        numbers = self._numbers()
        at = seq - self.first
        return body[numbers[at] + _LENGTH.size : numbers[at + 1]]

    def frames(self, seq: int, count: int, room: int) -> tuple[bytes, int]:
        """Up to `count` messages from `seq` on as frames, and how many: at least one, more only while all of them
        have at most `room` bytes. Two look-ups, whatever the number of messages. The piece's body must be here.
        """
        body = self.body
        assert body is not None
        if not self.offsets:
            return frame(body), 1
        numbers = self._numbers()
        at = seq - self.first
        most = min(at + count, self.count)
        end = min(most, max(at + 1, bisect_right(numbers, numbers[at] + room, at + 1, most + 1) - 1))
        return body[numbers[at] : numbers[end]], end - at

    def _numbers(self) -> memoryview:
        return memoryview(self.offsets).cast("I")


def frame(body: bytes) -> bytes:
    """One message as a frame."""
    return _LENGTH.pack(len(body)) + body


def offsets_fit(body: bytes, offsets: bytes, count: int) -> bool:
    """Whether the offsets that came with a batch are of its size. What lies between is the sender's affair."""
    if count < 1 or len(offsets) != (count + 1) * _OFFSET:
        return False
    numbers = memoryview(offsets).cast("I")
    return bool(numbers[0] == 0 and numbers[count] == len(body))
