"""Pieces that no subscriber needs and whose rows are still to be deleted.

A delete costs the pages that it touches rather than the rows: what is freed topic by topic lies scattered among the
pieces of other topics. So pieces wait in groups of consecutive numbers, which share their pages, and a transaction
deletes whole groups, the longest waiting first; meanwhile more pieces of the same groups are freed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

GROUP = 64
"""Numbers in a group, at most: the bits of an integer in SQLite."""


class PieceGroup(NamedTuple):
    """Some pieces out of a group."""

    number: int
    """Of the group."""
    first: int
    """The first of the pieces."""
    last: int
    mask: int
    """Bit n stands for piece `first + n`. A signed number of 64 bits, as SQLite has them."""

    def pieces(self) -> Iterator[int]:
        """Yield the numbers of the pieces, in order."""
        return (piece for piece in range(self.first, self.last + 1) if self.mask >> (piece - self.first) & 1)


DELETE = "DELETE FROM {} WHERE id BETWEEN ?1 AND ?2 AND ?3 >> (id - ?1) & 1"
"""Deletes the rows of a group from a table: parameters `first`, `last`, `mask`."""


class DeletionQueue:
    """In memory only: after a restart the pieces are found again by where readers stand."""

    def __init__(self, size: int = GROUP) -> None:
        """`size` of a group, at most `GROUP`."""
        self._size = size
        self._masks: dict[int, int] = {}
        """The pieces of each group, in the order in which the groups came."""

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._masks)

    def add(self, pieces: Iterable[int]) -> None:
        """Add pieces, each of them once."""
        masks, size = self._masks, self._size
        for piece in pieces:
            number, bit = divmod(piece, size)
            masks[number] = masks.get(number, 0) | 1 << bit

    def oldest(self, most: int) -> list[PieceGroup]:
        """Return at most `most` groups, the longest waiting first; they stay."""
        return [self._group(number, mask) for number, mask in islice(self._masks.items(), most)]

    def remove(self, groups: Iterable[PieceGroup]) -> None:
        """Remove groups that `oldest` has returned, with nothing added since."""
        for group in groups:
            del self._masks[group.number]

    def _group(self, number: int, mask: int) -> PieceGroup:
        lowest = (mask & -mask).bit_length() - 1
        first, last = (number * self._size + bit for bit in (lowest, mask.bit_length() - 1))
        mask >>= lowest
        return PieceGroup(number, first, last, mask - 2**GROUP if mask >> (GROUP - 1) else mask)
