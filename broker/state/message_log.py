"""The log of a topic: its pieces, and how many readers are in each.

Readers are counted per piece: `Piece.readers` is the number of subscriptions whose next message lies in it,
`tail_readers` the number of those that have read everything. A piece is freed when the head of the log passes it: when
no reader is at or before it. Whole blocks without readers are dropped in one step each.
"""

from __future__ import annotations

from broker.state.piece_list import PieceList


class MessageLog(PieceList):
    """The log of one topic. Changed by `State.apply` only."""

    __slots__ = ()

    def enter(self, position: int) -> None:
        """Add a reader at a position; below the head means at the head."""
        if position < self.head_seq:
            position = self.head_seq
        if position == self.next_seq:
            self.tail_readers += 1
        else:
            number, at = self._where(position)
            block = self._blocks[number]
            block.readers += 1
            block.pieces[at].readers += 1

    def leave(self, position: int) -> int:
        """Remove a reader from a position. Return the number of messages that this freed."""
        if position < self.head_seq:
            position = self.head_seq
        if position == self.next_seq:
            self.tail_readers -= 1
            return 0
        number, at = self._where(position)
        block = self._blocks[number]
        block.readers -= 1
        block.pieces[at].readers -= 1
        return self.free_head() if block.pieces[at].readers == 0 and number == 0 and at == self._head else 0

    def move(self, before: int, position: int) -> int:
        """Move a reader from `before` to `position`. Return the number of messages that this freed."""
        if not self.head_seq <= before < position:
            self.enter(position)
            return self.leave(before)
        number, at = self._where(before)
        block = self._blocks[number]
        pieces = block.pieces
        if position < pieces[at].end:
            return 0
        if position == pieces[at].end and at + 1 < len(pieces):
            pieces[at + 1].readers += 1
        else:
            block.readers -= 1
            if position == self.next_seq:
                self.tail_readers += 1
            else:
                self.enter(position)
        readers = pieces[at].readers = pieces[at].readers - 1
        return self.free_head() if readers == 0 and number == 0 and at == self._head else 0

    def move_head(self, head: int) -> int:
        """Drop all pieces below `head` and move their readers there. Return the number of messages that this freed.

        `head` is the first message of a piece, or `next_seq`.
        """
        blocks = self._blocks
        number, at = (len(blocks), 0) if head == self.next_seq else self._where(head)
        readers = sum(blocks[each].readers for each in range(number))
        if number == len(blocks):
            self.tail_readers += readers
        else:
            block = blocks[number]
            for index in range(0 if number else self._head, at):  # those before the head are freed
                readers += block.pieces[index].readers
                block.readers -= block.pieces[index].readers
            block.readers += readers
            block.pieces[at].readers += readers
        return self._drop(number, at) + self.free_head()

    def free_head(self) -> int:
        """Free the oldest pieces up to the first that has a reader. Return the number of messages that this freed."""
        at, blocks = self._head, self._blocks
        if len(blocks) == 1 and not blocks[0].readers:  # the common case: the only reader has read everything
            self._free(len(blocks[0].pieces))
            blocks.clear()
            self._head = 0
            freed, self.head_seq = self.next_seq - self.head_seq, self.next_seq
            return freed
        for number, block in enumerate(blocks):
            if block.readers:
                pieces = block.pieces
                while not pieces[at].readers:
                    at += 1
                return self._drop(number, at)
            at = 0
        return self._drop(len(blocks), 0)
