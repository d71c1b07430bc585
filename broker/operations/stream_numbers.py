"""Which stream of a mailbox is the newest: only its timed confirmations count. Nothing here persists."""

from __future__ import annotations

from bisect import bisect_left, insort

from broker.state.state import UserOf

REMEMBERED_US = 300_000_000
"""Microseconds for which a number is remembered at least after its last use; open streams use theirs more often."""
MOST = 10_000
"""Streams of one mailbox that are remembered, the newest."""

Numbers = dict[UserOf, list[int]]
"""Numbers of streams by topic and user, sorted."""


class StreamNumbers:
    """The numbers of the open streams. Those of fronts that died go in bulk, whatever their number."""

    def __init__(self) -> None:
        self._recent: Numbers = {}
        self._former: Numbers = {}
        self._turns_at = 0
        self._last = 0

    def next(self, mailbox: UserOf, mono: int) -> int:
        """Return the number of a new stream. It grows with the clock, so that it also does after a restart."""
        self._last = max(self._last + 1, mono)
        self.used(mailbox, self._last, mono)
        return self._last

    def used(self, mailbox: UserOf, number: int, mono: int) -> bool:
        """Note that a stream is open; return whether it is the newest of its mailbox."""
        if mono >= self._turns_at:
            self._former = self._recent if mono < self._turns_at + REMEMBERED_US else {}
            self._recent = {}
            self._turns_at = mono + REMEMBERED_US
        numbers = self._recent.setdefault(mailbox, [])
        if not _has(numbers, number):
            insort(numbers, number)
            del numbers[:-MOST]
        former = self._former.get(mailbox)
        return number == numbers[-1] and (not former or number >= former[-1])

    def ended(self, mailbox: UserOf, number: int) -> None:
        """Note that a stream has ended: another one may be the newest now."""
        for generation in (self._recent, self._former):
            numbers = generation.get(mailbox, [])
            if _has(numbers, number):
                del numbers[bisect_left(numbers, number)]
                if not numbers:
                    del generation[mailbox]


def _has(numbers: list[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
