"""How a store's file gives back the space that it does not need any more, also where the disk is full."""

from __future__ import annotations

import apsw

from broker.store.schema import PAGE_BYTES
from broker.store.spare import Spare

TIDY_FROM = 4096
"""Free pages that are not worth it: steady load uses them again."""
SCARCE = 64 * 1024 * 1024
"""Bytes of room with which every free page is worth it: publishing may be refused for want of them."""
TIDY_PAGES, SCARCE_PAGES, SCARCE_ROUNDS = 2048, 32, 8
"""Free pages that are given back at a time; where the disk is full it is fewer, several times."""
LOG_PAGES, SCARCE_LOG_PAGES = 1000, 64
"""Pages in the log after which it goes into the file; and where the disk is full."""


def limit_log(db: apsw.Connection, short: bool) -> None:
    """Says how long the log may become; `short` where the disk is full."""
    db.wal_autocheckpoint(SCARCE_LOG_PAGES if short else LOG_PAGES)


def shrink(db: apsw.Connection, spare: Spare, free: int, room: int) -> None:
    """Gives some of the free space in the file back; cheap where there is little. `free` bytes are left on the disk,
    `room` of them before publishing is refused. Where the disk is full, what is given back makes the spare whole first.

    Raises `apsw.Error`; nothing has been changed where it is a `FullError`, `BusyError` or `LockedError`.
    """
    if db.pragma("freelist_count") <= (TIDY_FROM if room > SCARCE else 0):
        return
    pages = min(TIDY_PAGES, max(SCARCE_PAGES, free // (4 * PAGE_BYTES)))  # each takes up to two in the log first
    # The file becomes shorter only with the checkpoint (https://www.sqlite.org/wal.html#ckpt), and so does the log.
    if not spare.short:
        db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return
    # The log keeps its length, and is written anew from its start.
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    for _ in range(SCARCE_ROUNDS):
        db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        spare.fill(pages * PAGE_BYTES)  # before somebody else takes it
