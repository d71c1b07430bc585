"""Opens a store that no broker uses, without a write: a read-only disk will do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import apsw

from broker.errors import EmptyStoreError, UnusableStoreError
from broker.store.sqlite.errors import unusable_on_error
from broker.store.sqlite.files import JOURNAL, WAL, describe_missing, read_store_id, traces
from broker.store.sqlite.meta import read_meta
from broker.store.sqlite.schema import check_header, has_topics
from broker.store.sqlite.slot_tables import FOUNDED, count_owned
from broker.store.sqlite.vfs import PAGE_BYTES, StoreVfs


class StoreInfo(NamedTuple):
    """Whose store it is."""

    cluster: str
    broker: str
    slots: int
    """How many slots it owns; of a store that does not say so, 1 where it has topics, and else 0."""
    schema: int
    log_id: str = ""
    """The replicated log whose state it is; "": of none."""


@contextmanager
def open_read_only(path: Path) -> Iterator[tuple[apsw.Connection, StoreVfs]]:
    """Open a store for reading, with what is in its log; yield the connection and the layer under it.

    The store is of any schema up to the present one. The caller makes sure that nobody writes it meanwhile.

    Raises `UnusableStoreError` for a file that is not ours, for an empty one, and for errors while it is used.
    """
    with unusable_on_error(path):
        if not path.exists() or not path.stat().st_size:  # beside an empty file SQLite would remove the log
            raise EmptyStoreError(describe_missing(path))
        log = Path(f"{path}{WAL}")
        logged = log.exists() and log.stat().st_size > 0
        vfs = StoreVfs(base="unix-none" if logged else "")
        db = _open(path, vfs, logged)
        try:
            if not db.pragma("schema_version"):
                raise EmptyStoreError(describe_missing(path))
            check_header(db, path)
            yield db, vfs
        finally:
            db.close()
            vfs.unregister()


def _open(path: Path, vfs: StoreVfs, logged: bool) -> apsw.Connection:
    """Open the file, with or without a log.

    Without a log it is read as a file that never changes. A log is read with its index in memory (exclusive locking
    mode) instead of in a `-shm` file. SQLite locks the file for that, which needs write access to it; the layer without
    locks does not.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    if not logged:
        return apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags, vfs=vfs.name)
    db = apsw.Connection(f"file:{quote(str(path))}", flags=flags, vfs=vfs.name)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("locking_mode", "exclusive")
    return db


def probe_store(path: Path) -> StoreInfo | None:
    """Return whose store is there; None where there is none yet.

    Raises `UnusableStoreError` for one that is not ours, that is damaged, or of which only traces are left.
    """
    small = not path.exists() or path.stat().st_size <= PAGE_BYTES
    if small and not read_store_id(path.parent) and Path(f"{path}{JOURNAL}").exists():
        return None  # a first start has come no further: with a journal SQLite writes nothing but the first page
    try:
        with open_read_only(path) as (db, _):
            facts = read_meta(db)
            slots = count_owned(db) if facts.get(FOUNDED) else int(has_topics(db))
            owner = (str(facts.get("cluster", "")), str(facts.get("broker", "")))
            return StoreInfo(*owner, slots, db.pragma("user_version"), str(facts.get("log", "")))
    except EmptyStoreError:
        written = path.exists() and path.stat().st_size > 0
        if read_store_id(path.parent) or (traces(path) and not written):
            raise
        return None


def check_pages(db: apsw.Connection, path: Path) -> None:
    """Check every page. Raises `UnusableStoreError`, and `apsw.Error`."""
    for (found,) in db.execute("PRAGMA integrity_check(1)"):
        if found != "ok":
            raise UnusableStoreError(f"{path}: damaged: {found}")
