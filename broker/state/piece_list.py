"""The stored pieces of one topic, in blocks: a million of them are dropped or skipped in a thousand steps.

That costs one step per block, and one per piece in the first and the last block only. Whole blocks that are dropped
become garbage, which is freed later (`broker/state/garbage.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from broker.records import Payload
from broker.state.blocks import Block
from broker.state.garbage import Garbage
from broker.state.oldest import SECOND_MS
from broker.state.piece import DAMAGED, MESSAGE_COST, Piece
from broker.thresholds import DEFAULT, Thresholds

_FIRST = attrgetter("first")


class PieceList:
    """Pieces from `head_seq` to `next_seq`, without gaps."""

    __slots__ = (
        "_blocks",
        "_bytes_gone",
        "_head",
        "_ttls_gone",
        "bytes",
        "garbage",
        "head_seq",
        "next_seq",
        "pieces_stored",
        "seconds",
        "tail_readers",
        "thresholds",
        "ttls",
    )

    def __init__(self, next_seq: int, garbage: Garbage | None = None, thresholds: Thresholds = DEFAULT) -> None:
        """Create an empty list; `garbage` takes what is freed, and counts all pieces by age."""
        self.thresholds = thresholds
        self.garbage = Garbage() if garbage is None else garbage
        self.seconds = self.garbage.seconds
        self.next_seq = next_seq
        self.head_seq = next_seq
        """Sequence number of the oldest stored message, `next_seq` without one."""
        self.tail_readers = 0
        self.bytes = 0
        """Content bytes of the stored messages."""
        self.ttls = 0
        """Stored pieces that expire; damaged ones count, too."""
        self.pieces_stored = 0
        self._blocks: list[Block] = []
        """None is empty. All but the first and the last are full."""
        self._head = 0
        """Index of the oldest live piece in the first block, after freed ones."""
        self._bytes_gone = 0
        """Content bytes of all that was dropped in this life of the topic."""
        self._ttls_gone = 0
        """Pieces of that which expire."""

    @property
    def messages(self) -> int:
        """Return the number of stored messages; a batch counts as a whole while one of it is wanted."""
        return self.next_seq - self.head_seq

    @property
    def stored_bytes(self) -> int:
        """Return the content bytes of all that was ever stored in this life of the topic."""
        return self.bytes + self._bytes_gone

    @property
    def head_piece(self) -> Piece | None:
        """Return the oldest stored piece."""
        return self._blocks[0].pieces[self._head] if self._blocks else None

    def piece(self, seq: int) -> Piece:
        """Return the piece that holds a stored message."""
        number, at = self._where(seq)
        return self._blocks[number].pieces[at]

    def pieces(self, seq: int) -> Iterator[Piece]:
        """Iterate over the piece that holds a stored message, and all after it."""
        number, at = self._where(seq)
        while number < len(self._blocks):
            pieces = self._blocks[number].pieces
            for index in range(at, len(pieces)):
                yield pieces[index]
            number, at = number + 1, 0

    def next_unexpired(self, seq: int, wall: int) -> int:
        """Return the first message from `seq` on that has not expired, `next_seq` where there is none."""
        seq = max(seq, self.head_seq)
        if not self.ttls or seq == self.next_seq:
            return seq
        number, at = self._where(seq)
        for block in self._from(number):
            piece = block.unexpired(at, wall) if block.latest > wall else None
            if piece is not None:
                return max(seq, piece.first)
            at = 0
        return self.next_seq

    def damaged_between(self, seq: int, end: int) -> int:
        """Return the number of messages of damaged pieces from a stored one on and before another, or `next_seq`."""
        if not self.ttls or seq == end:
            return 0
        damaged = 0
        number, at = self._where(seq)
        for block in self._from(number):
            if block.pieces[at].first >= end:
                break
            damaged += block.damaged_between(at, seq, end)
            at = 0
        return damaged

    def head_for(self, messages: int, size: int) -> tuple[int, int]:
        """Return the head that leaves at most `messages` messages of `size` bytes.

        Returns the bytes of memory that this frees, too.
        """
        head, left, freed, at = self.head_seq, self.bytes, 0, self._head
        for number, block in enumerate(self._blocks):
            last, within = block.pieces[-1], self._bytes_before(number + 1) - self._bytes_gone - self.bytes + left
            if self.next_seq - last.first > messages or left - within + last.size > size:
                head, left = last.end, left - within
                freed += within + (len(block.pieces) - at) * MESSAGE_COST
                at = 0
                continue
            while self.next_seq - head > messages or left > size:
                head = block.pieces[at].end
                left -= block.pieces[at].size
                freed += block.pieces[at].size + MESSAGE_COST
                at += 1
            break
        return head, freed

    def append(
        self,
        time: int,
        payload: Payload,
        expires: int = 0,
        number: int = 0,
        stored: int | None = None,
    ) -> Piece:
        """Append one piece at `next_seq`; readers of the tail now wait for it.

        With `stored`, its content is in the store, and this is its size.
        """
        readers, count = self.tail_readers, payload.count
        if stored is None:
            content = (payload.headers, payload.body, payload.offsets)
            piece = Piece(self.next_seq, count, time, *content, readers, expires, number, payload.size)
        else:
            piece = Piece(self.next_seq, count, time, b"", None, b"", readers, expires, number, stored)
        blocks = self._blocks
        if not blocks or len(blocks[-1].pieces) >= self.thresholds.log_block:
            self._begin_block()
        block = blocks[-1]
        block.pieces.append(piece)
        if readers:
            block.readers += readers
            self.tail_readers = 0
        if expires:
            self.ttls += 1
        seconds, second = self.seconds, time // SECOND_MS
        seconds[second] = seconds.get(second, 0) + 1
        self.bytes += piece.size
        self.pieces_stored += 1
        self.next_seq += count
        return piece

    def mark_damaged(self, seq: int) -> bool:
        """Mark the piece that begins with `seq` as damaged; it is skipped from now on.

        Return False where none begins there.
        """
        number, at = self._where(seq)
        block = self._blocks[number]
        piece = block.pieces[at]
        if piece.first != seq:
            return False
        if piece.damaged:
            return True
        if not piece.expires:
            self.ttls += 1
            for later in self._from(number + 1):
                later.ttls_before += 1
        piece.expires = DAMAGED
        block.damaged += piece.count
        if number + 1 < len(self._blocks):
            block.seal()
        return True

    def _begin_block(self) -> None:
        blocks = self._blocks
        if blocks:
            last = blocks[-1]
            if last.ttls_before + len(last.pieces) == self.ttls + self._ttls_gone:
                last.seal()  # all of it expires
        blocks.append(Block(self.next_seq, [], self.bytes + self._bytes_gone, self.ttls + self._ttls_gone))

    def _bytes_before(self, number: int) -> int:
        """Return the content bytes before a block, or after the last one."""
        blocks = self._blocks
        return blocks[number].bytes_before if number < len(blocks) else self.bytes + self._bytes_gone

    def _from(self, number: int) -> Iterator[Block]:
        return (self._blocks[each] for each in range(number, len(self._blocks)))

    def _where(self, seq: int) -> tuple[int, int]:
        """Return the number of the block with a stored message, and the index of its piece there."""
        if seq == self.head_seq:
            return 0, self._head
        blocks = self._blocks
        number = len(blocks) - 1
        # No piece is empty, so it is at most this far back; without batches since, exactly there.
        at = len(blocks[number].pieces) - (self.next_seq - seq)
        if at < 0:
            if number:
                back, at = divmod(at, self.thresholds.log_block)
                number += back
                if number == 0:
                    at -= self.thresholds.log_block - len(blocks[0].pieces)
            if number < 0 or at < 0:
                number = at = 0
        pieces = blocks[number].pieces
        piece = pieces[at]
        if not piece.first <= seq < piece.first + piece.count:
            number = bisect_right(blocks, seq, number + 1, key=_FIRST) - 1
            return number, bisect_right(blocks[number].pieces, seq, key=_FIRST) - 1
        return number, at

    def _drop(self, number: int, at: int) -> int:
        """Drop everything before piece `at` of block `number`. Return the number of messages that this freed."""
        blocks = self._blocks
        if number:
            self._free(len(blocks[0].pieces))
            if number > 1:
                self._drop_blocks(number)
            del blocks[:number]
            self._head = 0
        if at > self._head:
            self._free(at)
            if len(blocks) == 1 and at >= self.thresholds.compact and at * 2 >= len(blocks[0].pieces):
                del blocks[0].pieces[:at]
                self._head = 0
        head = blocks[0].pieces[self._head].first if blocks else self.next_seq
        freed, self.head_seq = head - self.head_seq, head
        return freed

    def _drop_blocks(self, end: int) -> None:
        """Turn the blocks between the first, which is freed already, and block `end` into garbage."""
        blocks = self._blocks
        for number in range(1, end):
            size = self._bytes_before(number + 1) - self._bytes_gone
            self.pieces_stored -= len(blocks[number].pieces)
            self.bytes -= size
            self._bytes_gone += size
            self.garbage.add(blocks[number], size)
        ttls = blocks[end].ttls_before - self._ttls_gone if end < len(blocks) else self.ttls
        self.ttls -= ttls
        self._ttls_gone += ttls

    def _free(self, end: int) -> None:
        """Free the pieces of the first block before an index, one by one."""
        block = self._blocks[0]
        pieces, freed, seconds = block.pieces, self.garbage.freed, self.seconds
        size = ttls = 0
        for index in range(self._head, end):
            piece = pieces[index]
            size += piece.size
            if piece.expires:
                ttls += 1
                if piece.damaged:
                    block.damaged -= piece.count
            second = piece.time // SECOND_MS
            left = seconds[second] - 1
            if left:
                seconds[second] = left
            else:
                del seconds[second]
            if freed is not None:
                freed.append(piece)
            pieces[index] = _FREED
        self.pieces_stored -= end - self._head
        self.bytes -= size
        self._bytes_gone += size
        self.ttls -= ttls
        self._ttls_gone += ttls
        self._head = end


_FREED = Piece(0, 0, 0, b"", b"", b"", 0)
