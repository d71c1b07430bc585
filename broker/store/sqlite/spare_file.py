"""A file that keeps space for a full disk (a ballast file): readers can still commit, which frees more space."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from broker.store.sqlite.files import sync

log = logging.getLogger("fanmail.broker")

SPARE_BYTES = 4 * 1024 * 1024
"""Maximum size of the file; it is never more than half of what is to stay free on the disk."""
STEP_BYTES = 16 * 1024
"""What is given at a time: one write. The rest stays out of reach of other programs that fill the disk."""
FULL_BYTES = 1024 * 1024
"""The disk counts as full with fewer bytes free."""


class SpareFile:
    """A file of zeros in the store's folder.

    It is shortened when a write finds the disk full, and restored when there is room.
    """

    def __init__(self, folder: Path, most: int, step: int = STEP_BYTES) -> None:
        """`most` is its size in bytes, 0 or less for none; `step` is how much is given at a time."""
        self._path = folder / "spare"
        self._most = max(0, most)
        self._step = step
        self._full = False
        try:
            self.size = self._path.stat().st_size
        except OSError:
            self.size = 0
        self.keep_up(self._free())

    @property
    def short(self) -> bool:
        """Return whether the disk was full, and has not had much room since."""
        return self._full

    def give(self) -> bool:
        """Give some of it to a write that has found the disk full; return False where there is no more."""
        self._note_full(0)
        if not self.size:
            return False
        self.size = max(0, self.size - self._step)
        try:
            os.truncate(self._path, self.size)
            sync(self._path)  # some file systems free the space only then
        except OSError:
            return False
        return True

    def become(self, log: Path) -> None:
        """Give all of it to a write-ahead log that does not exist yet, so that nobody can take the space in between.

        SQLite sees a log without a header, which has nothing in it (https://www.sqlite.org/walformat.html#recovery).
        """
        if self.size and not log.exists():
            with suppress(OSError):
                self._path.rename(log)
                self.size = 0

    def keep_up(self, free: int) -> None:
        """Restore the file, completely or not at all, where `free` bytes on the disk are enough."""
        if free < FULL_BYTES:
            self._note_full(free)
        elif self._full and free >= 2 * FULL_BYTES + self._most:
            self._full = False
            log.info("the disk has space again", extra={"path": str(self._path.parent), "free_bytes": free})
        if self.size < self._most and free >= 2 * self._most:
            self.fill(self._most)

    def fill(self, more: int) -> None:
        """Extend the file by `more` bytes, up to its size, where they are free."""
        wanted = min(self._most, self.size + more)
        if wanted <= self.size:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, wanted)
            finally:
                self.size = os.fstat(descriptor).st_size
                os.close(descriptor)
        except OSError:  # another time
            return

    def _note_full(self, free: int) -> None:
        if not self._full:
            self._full = True
            log.warning(
                "the disk is full: publishing is refused, reading continues and frees space",
                extra={"path": str(self._path.parent), "free_bytes": free, "spare_bytes": self.size},
            )

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize
