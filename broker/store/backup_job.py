"""Copies of the store, made in steps between the bursts, for who asks again and again how far they are."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from broker.errors import StoreError
from broker.store.base import Backup, Store
from common.errors import FanmailError
from common.protocol import ops

log = logging.getLogger("fanmail.broker")

_NAME = re.compile(r"backup-[0-9a-z]{1,64}\.db").fullmatch
KEEP_US = 10_000_000
"""Microseconds that a copy is kept for somebody who does not ask for it any more."""
MAX_COPIES = 16
"""Copies that are remembered at a time."""


@dataclass
class _Copy:
    """One that somebody has asked for."""

    backup: Backup | None = None
    path: str = ""
    pages: tuple[int, int] = (0, 0)
    done: bool = False
    failed: str = ""
    """Why there is none."""
    asked: bool = True
    """Since the last look at who is gone."""
    heard: int = 0
    """When it was looked whether somebody had asked, and somebody had; microseconds."""

    def fail(self, why: str) -> None:
        self.failed = why
        if self.backup is not None:
            self.backup.cancel()
            self.backup = None


class BackupJobs:
    """Copies of one store, one being made at a time. A copy that fails harms nothing but itself. One that nobody asks
    for is removed, complete or not: who made it asks until it is complete, and then takes it away.
    """

    def __init__(self, store: Store, keep: int = KEEP_US) -> None:
        """`keep` in microseconds."""
        self._store = store
        self._keep = keep
        self._copies: dict[str, _Copy] = {}
        self._making: _Copy | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something to do in every turn."""
        return self._making is not None

    def ask(self, name: str) -> ops.BackupProgress:
        """Begins the copy with this name, or says how far it is. Raises `backup-failed`."""
        if not _NAME(name):
            raise FanmailError("backup-failed", "the name of a copy is backup-<letters and digits>.db")
        copy = self._copies.get(name)
        if copy is None:
            if self._making is not None or len(self._copies) >= MAX_COPIES:
                raise FanmailError("backup-failed", "another copy is being made, or many were just now: try later")
            copy = self._copies[name] = self._begin(name)
        copy.asked = True
        if copy.failed:
            raise FanmailError("backup-failed", copy.failed)
        return ops.BackupProgress(copy.path, *copy.pages, copy.done)

    def step(self) -> None:
        """Copies some more."""
        copy = self._making
        if copy is None or copy.backup is None:
            return
        if self._store.writable_bytes() < 0:
            self._end(copy, "the disk is nearly full")
            return
        try:
            copy.done = copy.backup.step()
            copy.pages = copy.backup.pages
        except StoreError as error:
            self._end(copy, str(error))
            return
        if copy.done:
            self._making = None

    def expire(self, now: int) -> None:
        """Removes what nobody has asked for of late. To be called when all that came in has been answered; `now` is a
        reading of the monotonic clock in microseconds.
        """
        for name, copy in list(self._copies.items()):
            if copy.asked:
                copy.asked, copy.heard = False, now
            elif now - copy.heard >= self._keep:
                if not copy.failed:
                    log.info("a copy of the store that nobody asks for any more is removed", extra={"path": copy.path})
                self._end(copy, "nobody asked for it")
                del self._copies[name]

    def cancel(self) -> None:
        """The broker stops: what is not whole is removed."""
        if self._making is not None:
            self._end(self._making, "the broker is stopping")

    def _begin(self, name: str) -> _Copy:
        if self._store.writable_bytes() < 0:
            return _Copy(failed="the disk is nearly full")
        try:
            path, backup = self._store.backup(name)
        except StoreError as error:
            return _Copy(failed=str(error))
        self._making = _Copy(backup, str(path))
        return self._making

    def _end(self, copy: _Copy, why: str) -> None:
        copy.fail(why)
        if copy is self._making:
            self._making = None
