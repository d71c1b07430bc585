"""Space on the disk: how much may be written, and free pages of the file that are returned."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from broker.store.sqlite.files import WAL
from broker.store.sqlite.spare_file import SPARE_BYTES, SpareFile
from broker.store.sqlite.thresholds import StoreThresholds
from broker.store.sqlite.vfs import PAGE_BYTES

_LOG_PAGES, _SCARCE_LOG_PAGES = 1000, 64
"""Pages in the log after which it is written to the file; and the same on a full disk."""
_SCARCE_PAGES, _SCARCE_ROUNDS = 32, 8
"""Free pages that are returned at a time on a full disk, and how many times."""


class DiskSpace:
    """The disk space of one store."""

    def __init__(self, folder: Path, reserve: int, thresholds: StoreThresholds) -> None:
        """`reserve` is how many bytes stay free on the disk."""
        self._reserve = reserve
        self._thresholds = thresholds
        self._spare = SpareFile(folder, min(SPARE_BYTES, reserve // 2))
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def make_room(self) -> bool:
        """Give some of the spare file to a write that finds the disk full; return False where there is no more."""
        return self._spare.give()

    def before_opening(self, store: Path) -> None:
        """Give the spare file to the log of an existing store, where the disk is full."""
        if self._spare.short and store.exists() and store.stat().st_size:
            self._spare.become(Path(f"{store}{WAL}"))

    def keep_log(self, db: apsw.Connection) -> None:
        """Keep the log, and the space that it has, when the store is closed on a full disk."""
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(self._spare.short))

    def writable_bytes(self) -> int:
        """Return how many bytes may be written before the disk is at its reserve."""
        return self._free() - self._reserve

    def keep_up(self, db: apsw.Connection) -> None:
        """Restore the spare file where there is room, and set how long the log may become. Raises `apsw.Error`."""
        self._spare.keep_up(self._free())
        self.set_log(db)

    def set_log(self, db: apsw.Connection) -> None:
        """Set how long the log may become."""
        db.wal_autocheckpoint(_SCARCE_LOG_PAGES if self._spare.short else _LOG_PAGES)

    def shrink(self, db: apsw.Connection) -> None:
        """Return free pages to the file system where that is worthwhile. Raises `apsw.Error`."""
        limits, short = self._thresholds, self._spare.short
        if db.pragma("freelist_count") <= (limits.vacuum_above if self.writable_bytes() > limits.scarce_bytes else 0):
            return
        # Each needs up to two pages in the log first.
        pages = min(limits.vacuumed_pages, max(_SCARCE_PAGES, self._free() // (4 * PAGE_BYTES)))
        # The file becomes shorter only with the checkpoint (https://www.sqlite.org/wal.html#ckpt), and so does the log.
        if not short:
            db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return
        # The log keeps its length, and is rewritten from its start.
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        for _ in range(_SCARCE_ROUNDS):
            db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._spare.fill(pages * PAGE_BYTES)  # before another program takes it

    def close(self) -> None:
        """Close the folder. May be called twice."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _free(self) -> int:
        disk = os.fstatvfs(self._folder)
        return disk.f_bavail * disk.f_frsize
