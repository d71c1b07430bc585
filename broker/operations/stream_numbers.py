"""Which stream of a mailbox is the newest: only its timed confirmations count. Nothing here persists."""

from __future__ import annotations

from broker.state.state import UserOf

REMEMBERED_US = 300_000_000
"""Microseconds for which a number is remembered at least after its last use; streams use theirs more often."""


class StreamNumbers:
    """The number of the newest stream by topic and user. Old entries go in bulk, whatever their number."""

    def __init__(self) -> None:
        self._recent: dict[UserOf, int] = {}
        self._former: dict[UserOf, int] = {}
        self._turns_at = 0
        self._last = 0

    def next(self, mailbox: UserOf, mono: int) -> int:
        """Return the number of a new stream. It grows with the clock, so that it also does after a restart."""
        self._forget(mono)
        self._last = max(self._last + 1, mono)
        self._recent[mailbox] = self._last
        return self._last

    def used(self, mailbox: UserOf, number: int, mono: int) -> bool:
        """Note that a stream is open; return whether it is the newest of its mailbox."""
        self._forget(mono)
        newest = self._recent.get(mailbox) or self._former.get(mailbox, 0)
        self._recent[mailbox] = max(newest, number)
        return number >= newest

    def _forget(self, mono: int) -> None:
        if mono >= self._turns_at:
            self._former = self._recent if mono < self._turns_at + REMEMBERED_US else {}
            self._recent = {}
            self._turns_at = mono + REMEMBERED_US
