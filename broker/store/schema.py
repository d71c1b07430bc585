"""The tables of a durable store, their version, and how an older one becomes the present one.

State, not history: a row for what is alive, and none for what is not. `topic` in a row is the topic's number, which is
never given out again by this store; a piece's `id` grows in the order of storing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from broker.store.base import UnusableStoreError
from broker.store.files import sync

APPLICATION_ID = 0x466D4131
"""In the header of the file (SQLite's `application_id`): this is one of ours."""
VERSION = 2
"""`user_version` of the file. A newer one is refused; for an older one `MIGRATIONS` has a step from each."""

PAGE_BYTES = 8192

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topics (number INTEGER PRIMARY KEY, name BLOB NOT NULL, head INTEGER NOT NULL);
CREATE TABLE topic_settings (
    topic INTEGER PRIMARY KEY, max_messages INTEGER, max_bytes INTEGER, max_age INTEGER, drop_oldest INTEGER
);
CREATE TABLE pieces (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    time INTEGER NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL,
    headers BLOB NOT NULL, offsets BLOB NOT NULL, body BLOB NOT NULL
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
    time INTEGER NOT NULL, attempt INTEGER NOT NULL, expires INTEGER NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX letters_of ON letters (topic, user, seq);
CREATE TABLE delayed (
    number INTEGER PRIMARY KEY, topic BLOB NOT NULL, due INTEGER NOT NULL, ttl INTEGER NOT NULL,
    count INTEGER NOT NULL, headers BLOB NOT NULL, offsets BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE keys (
    id INTEGER PRIMARY KEY, topic BLOB NOT NULL, key BLOB NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
    subscribers INTEGER NOT NULL, seq INTEGER NOT NULL, due INTEGER NOT NULL
);
CREATE UNIQUE INDEX keys_of ON keys (topic, key);
"""

MIGRATIONS: dict[int, str] = {
    1: """
CREATE TABLE topic_settings (
    topic INTEGER PRIMARY KEY, max_messages INTEGER, max_bytes INTEGER, max_age INTEGER, drop_oldest INTEGER
);
""",
}
"""From each older version the statements that lead to the next; each runs in a transaction of its own."""

WRITES: tuple[tuple[str, str, str], ...] = (
    ("users_gone", "", "DELETE FROM held WHERE topic = ? AND user = ?"),
    ("users_gone", "", "DELETE FROM letters WHERE topic = ? AND user = ?"),
    ("keys_gone", "", "DELETE FROM keys WHERE topic = ?"),
    ("topics", "INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", "DELETE FROM topics WHERE number = ?"),
    ("delayed", "INSERT INTO delayed VALUES (?, ?, ?, ?, ?, ?, ?, ?)", "DELETE FROM delayed WHERE number = ?"),
    (
        "topic_settings",
        "INSERT OR REPLACE INTO topic_settings VALUES (?, ?, ?, ?, ?)",
        "DELETE FROM topic_settings WHERE topic = ?",
    ),
    ("pieces", "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", "DELETE FROM pieces WHERE id = ?"),
    (
        "subscriptions",
        "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)",
        "DELETE FROM subscriptions WHERE topic = ? AND user = ?",
    ),
    (
        "settings",
        "INSERT OR REPLACE INTO settings VALUES (?, ?, ?, ?)",
        "DELETE FROM settings WHERE topic = ? AND user = ?",
    ),
    (
        "held",
        "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)",
        "DELETE FROM held WHERE topic = ? AND user = ? AND seq = ?",
    ),
    (
        "letters",
        "INSERT OR REPLACE INTO letters VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "DELETE FROM letters WHERE topic = ? AND user = ? AND seq = ?",
    ),
    ("put_back", "", "UPDATE letters SET dead = 0 WHERE topic = ? AND user = ? AND seq = ?"),
    (
        "keys",
        "INSERT OR REPLACE INTO keys VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
        "DELETE FROM keys WHERE topic = ? AND key = ?",
    ),
)
"""Rows of a burst by their name there: how one is written, and how one is ended, in the order in which it is done."""
RETURN = "UPDATE held SET until = 0, due = ? WHERE topic = ? AND user = ? AND seq = ?"


def open_database(path: str, meta: Mapping[str, str | int], vfs: str | None = None) -> apsw.Connection:
    """The one connection to a store's file. Where there is none it is made, durably, with `meta` as its facts. `vfs`
    names another layer under it.

    Raises `UnusableStoreError` for a file that is not ours, is damaged, or is of a newer version.
    """
    try:
        connection = apsw.Connection(path, vfs=vfs)
        connection.set_busy_timeout(0)
        # Nobody else, not even to read. Before the first read: then the log's index is in memory, and takes no room.
        connection.pragma("locking_mode", "exclusive")
        fresh = not connection.pragma("schema_version")
        if fresh:
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("auto_vacuum", 2)  # incremental: space is given back in small steps
        else:
            check_header(connection, path)
            _migrate(connection)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise UnusableStoreError(f"{path}: the file system does not allow a write-ahead log")
        connection.pragma("synchronous", "full")
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("cache_size", -32 * 1024)  # KiB
        connection.pragma("temp_store", "memory")
        if fresh:
            with connection:
                connection.execute(TABLES)
                connection.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", VERSION)
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


def other_brokers(path: Path, made_for: str, wanted: str) -> str:
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


def _migrate(connection: apsw.Connection) -> None:
    version = connection.pragma("user_version")
    while version < VERSION:
        with connection:
            connection.execute(MIGRATIONS[version])
            version += 1
            connection.pragma("user_version", version)
