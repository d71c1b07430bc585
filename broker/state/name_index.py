"""Names in order, so that a listing begins anywhere and looks at no more than it gives.

A table of few names is sorted when it is listed. One of many has an index that is kept sorted as names come and go:
lists of a bounded length, found by bisection. A step costs a microsecond or two, whatever their number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar

from broker.thresholds import DEFAULT, Thresholds

N = TypeVar("N", bytes, int)


class Index(Generic[N]):
    """A sorted set of names, or of numbers."""

    __slots__ = ("_block", "_blocks", "_firsts")

    def __init__(self, names: Iterable[N], thresholds: Thresholds = DEFAULT) -> None:
        """`names` in any order, each once."""
        ordered = sorted(names)
        self._block = thresholds.block
        half = max(1, self._block // 2)
        self._blocks: list[list[N]] = [ordered[n : n + half] for n in range(0, len(ordered), half)]
        self._firsts: list[N] = [block[0] for block in self._blocks]
        """No name of a block is before its entry here, nor one of the block before behind it."""

    def add(self, name: N) -> None:
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

    def remove(self, name: N) -> None:
        """A name that is there."""
        at = bisect_right(self._firsts, name) - 1
        block = self._blocks[at]
        del block[bisect_left(block, name)]
        if not block:
            del self._blocks[at], self._firsts[at]

    def behind(self, name: N, *, itself: bool) -> Iterator[N]:
        """All names behind this one, in order; with `itself` the name too."""
        at = max(0, bisect_right(self._firsts, name) - 1)
        find = bisect_left if itself else bisect_right
        for number in range(at, len(self._blocks)):
            block = self._blocks[number]
            yield from block[find(block, name) :] if number == at else block


class Sorted(Generic[N]):
    """A set that is listed in order from anywhere; with an index once there are many."""

    __slots__ = ("_index", "_names", "_thresholds")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._thresholds = thresholds
        self._names: dict[N, None] = {}
        self._index: Index[N] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: N) -> None:
        """One that is not there."""
        self._names[name] = None
        if self._index is not None:
            self._index.add(name)
        elif len(self._names) > self._thresholds.few:
            self._index = Index(self._names, self._thresholds)

    def remove(self, name: N) -> None:
        """One that is there."""
        del self._names[name]
        if self._index is not None:
            self._index.remove(name)

    def behind(self, name: N) -> Iterator[N]:
        """All behind this one, in order."""
        if self._index is not None:
            return self._index.behind(name, itself=False)
        return iter(sorted(each for each in self._names if each > name))


def in_order(
    index: Index[bytes] | None, names: Collection[bytes], after: bytes, prefix: bytes = b""
) -> Iterator[bytes]:
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
