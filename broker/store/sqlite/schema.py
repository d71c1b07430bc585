"""The file of a durable store: the version of its tables, and how it is made and opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from broker.errors import UnusableStoreError
from broker.store.sqlite.errors import unusable_on_error
from broker.store.sqlite.files import sync
from broker.store.sqlite.slot_tables import SLOT_TABLES
from broker.store.sqlite.tables import DELAYED, META, TABLES, TOPICS
from broker.store.sqlite.vfs import CHECKSUM_BYTES, PAGE_BYTES, StoreVfs, table_made

APPLICATION_ID = 0x466D4131
"""`application_id` in the header of the file: it is one of ours."""
VERSION = 4
"""`user_version` of the file. A newer one is refused; one below `LAID_OUT` is rewritten (`upgrade.py`)."""
LAID_OUT = 3
"""From this version on the layout of pages is the same. Version 4 has further tables, which say what is owned."""


def lay_out(connection: apsw.Connection) -> None:
    """Set the layout of the pages of an empty file. Raises `apsw.Error`."""
    connection.reserve_bytes(reserve=CHECKSUM_BYTES)
    connection.pragma("page_size", PAGE_BYTES)
    connection.pragma("auto_vacuum", 2)  # incremental: space is given back in small steps


def make_tables(connection: apsw.Connection, facts: Mapping[str, str | int]) -> None:
    """Make the tables of the present schema, with facts about the store. Raises `apsw.Error`."""
    with connection:
        for table in (*TABLES, *SLOT_TABLES):
            connection.execute(table.create)
        connection.executemany(META.insert, list(facts.items()))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)


def open_database(path: Path, vfs: StoreVfs, facts: Mapping[str, str | int]) -> apsw.Connection:
    """Open the one connection to a store's file, over `vfs`. A missing file is made, durably, with `facts` about it.

    Raises `UnusableStoreError` for a file that is not ours, is damaged, or is of another version.
    """
    with unusable_on_error(path, "the disk is full, and opening this store takes a write: make room"):
        connection = apsw.Connection(str(path), vfs=vfs.name)
        connection.set_busy_timeout(0)
        # Nobody else, not even to read. Before the first read: then the log's index is in memory, and takes no room.
        connection.pragma("locking_mode", "exclusive")
        is_new = not connection.pragma("schema_version")
        if is_new:
            lay_out(connection)
        else:
            check_header(connection, path)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise UnusableStoreError(f"{path}: the file system does not allow a write-ahead log")
        connection.pragma("synchronous", "full")
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("cache_size", -32 * 1024)  # KiB
        connection.pragma("temp_store", "memory")
        if connection.pragma("user_version") == LAID_OUT:
            _add_tables(connection, vfs)
        if is_new:
            make_tables(connection, facts)
            sync(path)
            sync(path.parent)
    return connection


def _add_tables(connection: apsw.Connection, vfs: StoreVfs) -> None:
    """Bring a store of version 3 to the present one. Raises `apsw.Error`."""
    with table_made(vfs), connection:
        for table in SLOT_TABLES:
            connection.execute(table.create)
        connection.pragma("user_version", VERSION)


_HAS_TOPICS = f"SELECT EXISTS (SELECT 1 FROM {TOPICS.name}) OR EXISTS (SELECT 1 FROM {DELAYED.name})"


def has_topics(db: apsw.Connection) -> bool:
    """Return whether anything is stored that belongs to a topic."""
    found: Any = db.execute(_HAS_TOPICS).fetchall()
    return bool(found[0][0])


def check_header(connection: apsw.Connection, path: Path) -> None:
    """Check whose file it is. Raises `UnusableStoreError` where it is not ours, or of a newer version."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise UnusableStoreError(f"{path}: this is a database, but not a Fanmail store")
    version = connection.pragma("user_version")
    if version > VERSION:
        raise UnusableStoreError(f"{path}: written by a newer version (schema {version}, this one knows {VERSION})")
    if version >= LAID_OUT and connection.reserve_bytes() != CHECKSUM_BYTES:
        raise UnusableStoreError(f"{path}: damaged: its pages have no checksums")
