"""A piece of a topic's log: one publish or one batch. The broker cuts ranges out of it and does not parse it."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from struct import Struct as Layout

from msgspec import Struct

MESSAGE_COST = 288
"""Bytes of memory of a piece beside its content, measured by bench/measures/memory.py and rounded up."""
_LENGTH = Layout(">I")
_OFFSET = 4
"""Bytes of one entry of `offsets`, a little-endian unsigned number."""


DAMAGED = 1
"""`expires` of a piece that cannot be read as it was written: it is skipped like an expired one."""


class Piece(Struct, gc=False):
    """One publish. Persists, except for `readers`, which follow from the subscriptions."""

    first: int
    """Sequence number of its first message."""
    count: int
    time: int
    """Milliseconds of the broker's time."""
    headers: bytes
    """Kept headers, the same for all messages; opaque."""
    body: bytes | None
    """The body of a single message. The frames of a batch: per message 4 bytes of big-endian length, then the bytes.
    None where it is in the store only, with headers and offsets.
    """
    offsets: bytes
    """Of a batch, where its frames begin, and the end: `count` + 1 numbers. Empty for a single message."""
    readers: int
    """Subscriptions whose next message, or oldest leased one, lies in this piece."""
    expires: int = 0
    """Milliseconds of the broker's time at which it expires; 0: never."""
    id: int = 0
    """Grows with every piece of a broker; the store finds the piece by it."""
    size: int = 0
    """Bytes of content: headers, body and offsets."""

    @property
    def damaged(self) -> bool:
        """Return whether it was found not to be what was written."""
        return self.expires == DAMAGED

    @property
    def end(self) -> int:
        """Return the sequence number after its last message."""
        return self.first + self.count

    def single(self, seq: int) -> bytes:
        """Return the body of one message; the piece's body must be in memory."""
        body = self.body
        assert body is not None
        if not self.offsets:
            return body
        numbers = self._numbers()
        at = seq - self.first
        return body[numbers[at] + _LENGTH.size : numbers[at + 1]]

    def frames(self, seq: int, count: int, room: int) -> tuple[bytes, int]:
        """Return up to `count` messages from `seq` on as frames, and their number; the piece's body must be in memory.

        At least one message, and more only while all of them have at most `room` bytes. Two lookups, whatever the
        number of messages.
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
    """Return one message as a frame."""
    return _LENGTH.pack(len(body)) + body


def offsets_fit(body: bytes, offsets: bytes, count: int) -> bool:
    """Return whether the offsets of a batch match its size. The offsets between are not checked."""
    if count < 1 or len(offsets) != (count + 1) * _OFFSET:
        return False
    numbers = memoryview(offsets).cast("I")
    return bool(numbers[0] == 0 and numbers[count] == len(body))


def offsets_ascend(offsets: bytes) -> bool:
    """Return whether the frames that offsets name are apart, so that they have no more bytes than their batch."""
    return all(end - start >= _LENGTH.size for start, end in pairwise(memoryview(offsets).cast("I")))


def each_body(body: bytes, offsets: bytes, count: int) -> list[bytes]:
    """Return the messages of a batch whose offsets fit and ascend."""
    numbers = memoryview(offsets).cast("I")
    return [body[numbers[at] + _LENGTH.size : numbers[at + 1]] for at in range(count)]
