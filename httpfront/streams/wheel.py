"""A timing wheel: deadlines of thousands of streams, none of which is looked at before it is due. No clock here.

A deadline that moves away, as with every message, costs nothing: the entry stays where it is and moves when its old
time has come.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Generic, Protocol, TypeVar

SLOT_S = 0.25
"""Precision, seconds."""
SLOTS = 128


class Timed(Protocol):
    """What has a deadline. Both fields belong to the wheel."""

    due: float
    """Monotonic seconds; inf: never."""
    slot: int
    """Number of the slot with its entry; -1: there is none."""


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Entries by the slot in which they are looked at next."""

    def __init__(self, now: float, slot_s: float = SLOT_S, slots: int = SLOTS) -> None:
        """Start at `now`, in monotonic seconds as all times here."""
        self._slot_s = slot_s
        self._slots: list[set[T]] = [set() for _ in range(slots)]
        self._at = int(now / slot_s)
        """The slot that was emptied last; slots count on without end and share places."""

    def set(self, entry: T, due: float) -> None:
        """Set a deadline, in place of the one before."""
        entry.due = due
        if due == inf:
            return
        slot = self._slot_of(due)
        if 0 <= entry.slot <= slot:
            return
        self.drop(entry)
        self._place(entry, slot)

    def drop(self, entry: T) -> None:
        """Remove an entry."""
        if entry.slot >= 0:
            self._slots[entry.slot % len(self._slots)].discard(entry)
            entry.slot = -1

    def pop_due(self, now: float) -> Iterator[T]:
        """Remove and yield what is due; further deadlines may be set meanwhile."""
        while self._at < int(now / self._slot_s):
            self._at += 1
            place = self._at % len(self._slots)
            entries, self._slots[place] = self._slots[place], set()
            for entry in entries:
                entry.slot = -1
            for entry in entries:
                if entry.slot >= 0:
                    continue  # set anew by what an earlier one did
                if entry.due <= self._at * self._slot_s:
                    yield entry
                elif entry.due < inf:
                    self._place(entry, self._slot_of(entry.due))

    def _slot_of(self, due: float) -> int:
        """Return the first slot at or after a deadline, or the last one there is."""
        return min(max(int(due / self._slot_s) + 1, self._at + 1), self._at + len(self._slots) - 1)

    def _place(self, entry: T, slot: int) -> None:
        entry.slot = slot
        self._slots[slot % len(self._slots)].add(entry)
