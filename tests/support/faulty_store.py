"""A SQLite store that fails where it is told to: the failpoints of fault tests.

A broker cannot reach this code: `tests/support/faulty_broker.py` starts one with such a store.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from broker.errors import StoreError
from broker.records import KeyRemembered, MessageStored, Record, SubscriptionSet
from broker.store.sqlite.store import SqliteStore
from common.clock import Mark


class Point(StrEnum):
    """Where the store fails. All but the last four apply from the commit with a given number on."""

    BEFORE = "before"
    """The process is killed before the transaction."""
    WRITTEN = "written"
    """The process is killed by SQLite's own hook when everything is written and COMMIT has begun."""
    SYNCED = "synced"
    """The process is killed when a commit with a message is synced, before the replies."""
    RAISES = "raises"
    """The commit fails as it does after a failed write or sync; nothing is stored."""
    RAISES_LATE = "raises-late"
    """The commit fails, but everything is stored."""
    BUG = "bug"
    """An unforeseen error when the state has changed and nothing is stored."""
    UNSAVED = "unsaved"
    """A negative control: commits do nothing, and the broker replies as if they did."""
    KEYLESS = "keyless"
    """A negative control: killed at that commit as in SYNCED, and idempotency keys are never stored."""
    SLOW = "slow"
    """Loading continues while there is a file, which is named instead of the number."""


class FaultyStore(SqliteStore):
    """A store that fails. `argument` is the number of a commit, beginning with 1, or what the point says."""

    def __init__(self, *about: Any, point: Point, argument: str) -> None:
        super().__init__(*about)
        self._point = point
        self._argument = argument
        self._at = 0 if point is Point.SLOW else int(argument)
        self._commits = 0

    def load(self) -> Iterator[Record]:
        """Yield the stored records; SLOW repeats that of a subscription many times."""
        for record in super().load():
            yield record
            while self._point is Point.SLOW and isinstance(record, SubscriptionSet) and Path(self._argument).exists():
                yield record

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        """Commit, or fail at the point."""
        self._commits += 1
        due, point = self._commits >= self._at, self._point
        if point in (Point.SYNCED, Point.KEYLESS):
            due &= any(isinstance(each, MessageStored) for each in burst)
        if point is Point.KEYLESS:
            burst = [each for each in burst if not isinstance(each, KeyRemembered)]
        if due and point is Point.BEFORE:
            _die()
        if due and point is Point.RAISES:
            raise StoreError(f"{self.path}: disk I/O error")
        if due and point is Point.BUG:
            raise ZeroDivisionError
        if due and point is Point.UNSAVED:
            return
        if due and point is Point.WRITTEN:
            self._db.set_commit_hook(_die)
        super().begin(burst, clock)
        if due and point in (Point.SYNCED, Point.KEYLESS):
            _die()
        if due and point is Point.RAISES_LATE:
            raise StoreError(f"{self.path}: disk I/O error")


def _die() -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True
