"""The tables of a durable store, their version, and how an older one becomes the present one.

State, not history: a row for what is alive, and none for what is not. `topic` in a row is the topic's number, which is
never given out again by this store; a piece's `id` grows in the order of storing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from broker.errors import UnusableStoreError
from broker.store.sqlite.files import sync
from broker.store.sqlite.vfs import CHECKSUM_BYTES, PAGE_BYTES, StoreVfs

APPLICATION_ID = 0x466D4131
"""In the header of the file (SQLite's `application_id`): this is one of ours."""
VERSION = 3
"""`user_version` of the file. A newer one is refused; an older one is rewritten (`upgrade.py`)."""

CONTENTS = """
CREATE TABLE {} (
    id INTEGER PRIMARY KEY, headers BLOB NOT NULL, offsets BLOB NOT NULL, body BLOB NOT NULL
);
"""
"""What messages say, apart from where they are: damage to it is damage to single messages (`contents.py`)."""
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topics (number INTEGER PRIMARY KEY, name BLOB NOT NULL, head INTEGER NOT NULL);
CREATE TABLE topic_settings (
    topic INTEGER PRIMARY KEY, max_messages INTEGER, max_bytes INTEGER, max_age INTEGER, drop_oldest INTEGER
);
CREATE TABLE pieces (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    time INTEGER NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL, digest INTEGER NOT NULL
);
CREATE TABLE subscriptions (
    topic INTEGER NOT NULL, user BLOB NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (topic, user)
) WITHOUT ROWID;
CREATE TABLE settings (
    topic INTEGER NOT NULL, user BLOB NOT NULL, expires_after INTEGER NOT NULL, max_deliveries INTEGER NOT NULL,
    PRIMARY KEY (topic, user)
) WITHOUT ROWID;
CREATE TABLE held (
    topic INTEGER NOT NULL, user BLOB NOT NULL, seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL, until INTEGER NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (topic, user, seq)
) WITHOUT ROWID;
CREATE TABLE letters (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, user BLOB NOT NULL, seq INTEGER NOT NULL, dead INTEGER NOT NULL,
    time INTEGER NOT NULL, attempt INTEGER NOT NULL, expires INTEGER NOT NULL, digest INTEGER NOT NULL
);
CREATE UNIQUE INDEX letters_of ON letters (topic, user, seq);
CREATE TABLE delayed (
    number INTEGER PRIMARY KEY, topic BLOB NOT NULL, due INTEGER NOT NULL, ttl INTEGER NOT NULL,
    count INTEGER NOT NULL, digest INTEGER NOT NULL
);
CREATE TABLE keys (
    id INTEGER PRIMARY KEY, topic BLOB NOT NULL, key BLOB NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
    subscribers INTEGER NOT NULL, seq INTEGER NOT NULL, due INTEGER NOT NULL
);
CREATE UNIQUE INDEX keys_of ON keys (topic, key);
""" + CONTENTS.format("contents")


def lay_out(connection: apsw.Connection) -> None:
    """Settles how the pages of an empty file are laid out. Raises `apsw.Error`."""
    connection.reserve_bytes(reserve=CHECKSUM_BYTES)
    connection.pragma("page_size", PAGE_BYTES)
    connection.pragma("auto_vacuum", 2)  # incremental: space is given back in small steps


def make_tables(connection: apsw.Connection, meta: Mapping[str, str | int]) -> None:
    """The tables of the present schema, with facts about the store. Raises `apsw.Error`."""
    with connection:
        connection.execute(TABLES)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)


def open_database(path: str, vfs: StoreVfs, meta: Mapping[str, str | int]) -> apsw.Connection:
    """The one connection to a store's file, over `vfs`. Where there is none it is made, durably, with `meta` as its
    facts.

    Raises `UnusableStoreError` for a file that is not ours, is damaged, or is of another version.
    """
    try:
        connection = apsw.Connection(path, vfs=vfs.name)
        connection.set_busy_timeout(0)
        # Nobody else, not even to read. Before the first read: then the log's index is in memory, and takes no room.
        connection.pragma("locking_mode", "exclusive")
        fresh = not connection.pragma("schema_version")
        if fresh:
            lay_out(connection)
        else:
            check_header(connection, path)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise UnusableStoreError(f"{path}: the file system does not allow a write-ahead log")
        connection.pragma("synchronous", "full")
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("cache_size", -32 * 1024)  # KiB
        connection.pragma("temp_store", "memory")
        if fresh:
            make_tables(connection, meta)
            sync(Path(path))
            sync(Path(path).parent)
    except apsw.FullError:
        raise UnusableStoreError(
            f"{path}: the disk is full, and this store takes a write to be opened: make room"
        ) from None
    except apsw.Error as error:
        raise UnusableStoreError(f"{path}: {error}") from None
    except OSError as error:
        raise UnusableStoreError(f"{path}: {error.strerror}") from None
    return connection


def has_topics(db: apsw.Connection) -> bool:
    """Whether anything is stored that belongs to a topic."""
    found: Any = db.execute("SELECT EXISTS (SELECT 1 FROM topics) OR EXISTS (SELECT 1 FROM delayed)").fetchall()
    return bool(found[0][0])


def describe_other_brokers(path: Path, made_for: str, wanted: str) -> str:
    """Why a store is not used that was made for a cluster of other brokers."""
    others = made_for or "that it does not name"
    return (
        f"{path}: there are topics in it that were spread over brokers {others}, and the cluster has "
        f"{wanted or 'none'} now; start as many brokers as before (topics cannot be moved yet), or read it empty first"
    )


def check_header(connection: apsw.Connection, path: str) -> None:
    """Raises `UnusableStoreError` where the file is not ours, or of a newer version."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise UnusableStoreError(f"{path}: this is a database, but not of this server")
    version = connection.pragma("user_version")
    if version > VERSION:
        raise UnusableStoreError(f"{path}: written by a newer version (schema {version}, this one knows {VERSION})")
    if version == VERSION and connection.reserve_bytes() != CHECKSUM_BYTES:
        raise UnusableStoreError(f"{path}: damaged: its pages have no checksums")
