"""Names in order, so that a listing begins anywhere and looks at no more than it gives.

A table of few names is sorted when it is listed. One of many has an index, a sorted list in blocks of bounded length
(`sortedcontainers`), which is kept up to date as names come and go: a step takes a microsecond or two, however many
names there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from broker.thresholds import DEFAULT, Thresholds

N = TypeVar("N", bytes, int)


class NameIndex(Protocol[N]):
    """The part of a sorted list that is used here, of names or of numbers.

    Positions are not used: they would need a further index, with a step for each block.
    """

    def add(self, value: N) -> None:
        """Add a name that is not there."""

    def remove(self, value: N) -> None:
        """Remove a name. Raises `ValueError` where it is not there."""

    def irange(self, minimum: Any = None, maximum: Any = None, inclusive: tuple[bool, bool] = ...) -> Iterator[N]:
        """Yield the names between two, in order; `inclusive` says whether the two are among them."""


def make_index(names: Iterable[N]) -> NameIndex[N]:
    """Return an index of `names`, which are in any order, each once."""
    index: NameIndex[N] = SortedList(names)
    return index


class LazySortedSet(Generic[N]):
    """A set that is listed in order from anywhere. It has an index once there are many."""

    __slots__ = ("_index", "_names", "_thresholds")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self._thresholds = thresholds
        self._names: dict[N, None] = {}
        self._index: NameIndex[N] | None = None

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)

    def add(self, name: N) -> None:
        """Add a name that is not there."""
        self._names[name] = None
        if self._index is not None:
            self._index.add(name)
        elif len(self._names) > self._thresholds.few:
            self._index = make_index(self._names)

    def remove(self, name: N) -> None:
        """Remove a name that is there."""
        del self._names[name]
        if self._index is not None:
            self._index.remove(name)

    def after(self, name: N) -> Iterator[N]:
        """Yield all names after this one, in order."""
        if self._index is not None:
            return self._index.irange(name, inclusive=(False, True))
        return iter(sorted(each for each in self._names if each > name))


def in_order(
    index: NameIndex[bytes] | None, names: Collection[bytes], after: bytes, prefix: bytes = b""
) -> Iterator[bytes]:
    """Yield the names of a table that begin with `prefix` and come after `after`, in order.

    `index` has the same names, where the table has an index.
    """
    inclusive = prefix > after
    start = max(after, prefix)
    if index is None:
        ordered = sorted(names)
        found = iter(ordered[bisect_left(ordered, start) if inclusive else bisect_right(ordered, start) :])
    else:
        found = index.irange(start, inclusive=(inclusive, True))
    for name in found:
        if not name.startswith(prefix):
            return
        yield name
