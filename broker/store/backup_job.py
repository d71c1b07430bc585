"""Copies of the store, made in steps between the bursts.

A client asks for a copy by name, again and again, until it is complete.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from broker.errors import StoreError
from broker.store.base import Backup, Store
from common.errors import FanmailError
from common.protocol import ops

log = logging.getLogger("fanmail.broker")

_NAME = re.compile(r"backup-[0-9a-z]{1,64}\.db").fullmatch
KEEP_US = 10_000_000
"""How long a copy is kept that no client asks for."""
MOST_READ = 1024 * 1024
"""Bytes of a copy that are read at a time."""
MAX_COPIES = 16
"""Copies that are kept at a time, failed ones too."""


@dataclass
class _Copy:
    """One copy that a client has asked for."""

    backup: Backup | None = None
    path: str = ""
    pages: tuple[int, int] = (0, 0)
    done: bool = False
    failed: str = ""
    """Why there is no copy; "" where it has not failed."""
    asked: bool = True
    """A client has asked for it since the last `expire`."""
    heard_us: int = 0
    """The last `expire` before which a client had asked for it."""

    def fail(self, why: str) -> None:
        self.failed = why
        if self.backup is not None:
            self.backup.cancel()
            self.backup = None


class BackupJobs:
    """Makes copies of one store, one at a time.

    A copy that fails harms nothing else. A copy that no client asks for is removed, complete or not: a client asks
    until it is complete, and then takes it away.
    """

    def __init__(self, store: Store, keep_us: int = KEEP_US) -> None:
        """`keep_us` is how long a copy is kept that no client asks for."""
        self._store = store
        self._keep_us = keep_us
        self._copies: dict[str, _Copy] = {}
        self._running: _Copy | None = None

    @property
    def busy(self) -> bool:
        """Return whether a copy is being made, so that there is work in every turn of the loop."""
        return self._running is not None

    def ask(self, name: str) -> ops.BackupProgress:
        """Begin the copy with this name, or return its progress. Raises `backup-failed`."""
        if not _NAME(name):
            raise FanmailError("backup-failed", "the name of a copy is backup-<letters and digits>.db")
        copy = self._copies.get(name)
        if copy is None:
            if self._running is not None or len(self._copies) >= MAX_COPIES:
                raise FanmailError(
                    "backup-failed", "another copy is being made, or too many were made lately: try later"
                )
            copy = self._copies[name] = self._begin(name)
        copy.asked = True
        if copy.failed:
            raise FanmailError("backup-failed", copy.failed)
        return ops.BackupProgress(copy.path, *copy.pages, copy.done)

    def read(self, name: str, offset: int, length: int) -> ops.BackupPart:
        """Return a part of a complete copy. Raises `backup-failed`."""
        copy = self._copies.get(name)
        if copy is None or not copy.done or copy.failed:
            raise FanmailError("backup-failed", copy.failed if copy and copy.failed else "there is no complete copy")
        copy.asked = True
        try:
            with Path(copy.path).open("rb") as file:
                file.seek(max(0, offset))
                return ops.BackupPart(file.read(max(0, min(length, MOST_READ))), file.seek(0, 2))
        except OSError as error:
            raise FanmailError("backup-failed", f"{copy.path}: {error.strerror}") from None
        except OverflowError:
            raise FanmailError("backup-failed", f"{copy.path}: no file has {offset} bytes") from None

    def step(self) -> None:
        """Copy some more."""
        copy = self._running
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
            self._running = None

    def expire(self, now_us: int) -> None:
        """Remove copies that no client has asked for lately.

        To be called when all requests that arrived have been answered. `now_us` is a reading of the monotonic clock.
        """
        for name, copy in list(self._copies.items()):
            if copy.asked:
                copy.asked, copy.heard_us = False, now_us
            elif now_us - copy.heard_us >= self._keep_us:
                if not copy.failed:
                    log.info("removed a copy of the store that no client asked for", extra={"path": copy.path})
                self._end(copy, "no client asked for it")
                del self._copies[name]

    def cancel(self) -> None:
        """Remove a copy that is not complete: the broker is stopping."""
        if self._running is not None:
            self._end(self._running, "the broker is stopping")

    def _begin(self, name: str) -> _Copy:
        if self._store.writable_bytes() < 0:
            return _Copy(failed="the disk is nearly full")
        try:
            path, backup = self._store.backup(name)
        except StoreError as error:
            return _Copy(failed=str(error))
        self._running = _Copy(backup, str(path))
        return self._running

    def _end(self, copy: _Copy, why: str) -> None:
        copy.fail(why)
        if copy is self._running:
            self._running = None
