"""Room on the disk: how much may be written, and space in the file that is given back."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from broker.store.sqlite.files import WAL
from broker.store.sqlite.spare_file import SPARE_BYTES, SpareFile
from broker.store.sqlite.thresholds import StoreThresholds
from broker.store.sqlite.vfs import PAGE_BYTES

_LOG_PAGES, _SCARCE_LOG_PAGES = 1000, 64
"""Pages in the log after which it goes into the file; and where the disk is full."""
_SCARCE_PAGES, _SCARCE_ROUNDS = 32, 8
"""Free pages that are given back at a time where the disk is full, and how many times."""


class DiskSpace:
    """Of one store. `make_room` is for writes that find the disk full."""

    def __init__(self, folder: Path, reserve: int, thresholds: StoreThresholds) -> None:
        """`reserve` in bytes is what stays free on the disk."""
        self._reserve = reserve
        self._most = thresholds
        self._spare = SpareFile(folder, min(SPARE_BYTES, reserve // 2))
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def make_room(self) -> bool:
        """Gives some of the spare room; False where there is no more."""
        return self._spare.give()

    def before_opening(self, store: Path) -> None:
        """Where the disk is full, gives the spare room to the log of a store that is there."""
        if self._spare.short and store.exists() and store.stat().st_size:
            self._spare.become(Path(f"{store}{WAL}"))

    def keep_log(self, db: apsw.Connection) -> None:
        """Where the disk is full, the log stays when the store is closed, and the room that it has."""
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(self._spare.short))

    def writable_bytes(self) -> int:
        """Bytes that may still be written before the disk is at its reserve."""
        return self._free() - self._reserve

    def keep_up(self, db: apsw.Connection) -> None:
        """Looks after the spare room, and how long the log may become. Raises `apsw.Error`."""
        self._spare.keep_up(self._free())
        self.set_log(db)

    def set_log(self, db: apsw.Connection) -> None:
        """How long the log may become."""
        db.wal_autocheckpoint(_SCARCE_LOG_PAGES if self._spare.short else _LOG_PAGES)

    def shrink(self, db: apsw.Connection) -> None:
        """Gives free pages back to the file system where that is worth it. Raises `apsw.Error`."""
        most, short = self._most, self._spare.short
        if db.pragma("freelist_count") <= (most.vacuum_above if self.writable_bytes() > most.scarce_bytes else 0):
            return
        # Each takes up to two pages in the log first.
        pages = min(most.vacuumed_pages, max(_SCARCE_PAGES, self._free() // (4 * PAGE_BYTES)))
        # The file becomes shorter only with the checkpoint (https://www.sqlite.org/wal.html#ckpt), and so does the log.
        if not short:
            db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return
        # The log keeps its length, and is written anew from its start.
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        for _ in range(_SCARCE_ROUNDS):
            db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._spare.fill(pages * PAGE_BYTES)  # before somebody else takes it

    def close(self) -> None:
        """May be called twice."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _free(self) -> int:
        disk = os.fstatvfs(self._folder)
        return disk.f_bavail * disk.f_frsize
