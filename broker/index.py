"""Names in order, so that a listing begins anywhere and looks at no more than it gives.

A table of few names is sorted when it is listed. One of many has an index that is kept sorted as names come and go:
lists of a bounded length, found by bisection. A step costs a microsecond or two, whatever their number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator

from broker.thresholds import DEFAULT, Thresholds


class Index:
    """A sorted set of names."""

    __slots__ = ("_block", "_blocks", "_firsts")

    def __init__(self, names: Iterable[bytes], thresholds: Thresholds = DEFAULT) -> None:
        """`names` in any order, each once."""
        ordered = sorted(names)
        self._block = thresholds.block
        half = max(1, self._block // 2)
        self._blocks = [ordered[n : n + half] for n in range(0, len(ordered), half)]
        self._firsts = [block[0] for block in self._blocks]
        """No name of a block is before its entry here, nor one of the block before behind it."""

    def add(self, name: bytes) -> None:
        """A name that is not there."""
        at = bisect_right(self._firsts, name) - 1
        if at < 0:
            if not self._blocks:
                self._blocks, self._firsts = [[name]], [name]
                return
            at, self._firsts[0] = 0, name
        block = self._blocks[at]
        insort(block, name)
        if len(block) > self._block:
            half = len(block) // 2
            self._blocks[at : at + 1] = [block[:half], block[half:]]
            self._firsts.insert(at + 1, block[half])

    def remove(self, name: bytes) -> None:
        """A name that is there."""
        at = bisect_right(self._firsts, name) - 1
        block = self._blocks[at]
        del block[bisect_left(block, name)]
        if not block:
            del self._blocks[at], self._firsts[at]

    def behind(self, name: bytes, *, itself: bool) -> Iterator[bytes]:
        """All names behind this one, in order; with `itself` the name too."""
        at = max(0, bisect_right(self._firsts, name) - 1)
        find = bisect_left if itself else bisect_right
        for number in range(at, len(self._blocks)):
            block = self._blocks[number]
            yield from block[find(block, name) :] if number == at else block


def in_order(index: Index | None, names: Collection[bytes], after: bytes, prefix: bytes = b"") -> Iterator[bytes]:
    """The names of a table that begin with `prefix`, in order, behind `after`."""
    itself = prefix > after
    start = max(after, prefix)
    if index is None:
        ordered = sorted(names)
        at = bisect_left(ordered, start) if itself else bisect_right(ordered, start)
        found: Iterator[bytes] = iter(ordered[at:])
    else:
        found = index.behind(start, itself=itself)
    for name in found:
        if not name.startswith(prefix):
            return
        yield name
