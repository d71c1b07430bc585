"""An older store becomes one of the present schema: it is written anew beside the old one, which it then replaces.

Schema 3 has a checksum on every page, which needs another layout of the whole file, and keeps contents apart. The old
file stays as it was until the new one is durable; a crash in between leaves the old one, and this begins again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from broker.errors import UnusableStoreError
from broker.store.sqlite.contents import TABLE, content_digest, delayed_content_id, letter_content_id
from broker.store.sqlite.files import sync
from broker.store.sqlite.read_only import StoreInfo
from broker.store.sqlite.schema import VERSION, lay_out, make_tables
from broker.store.sqlite.vfs import StoreVfs

log = logging.getLogger("fanmail.broker")

Row = tuple[Any, ...]

REPORT_EVERY = 500_000
"""Rows between two lines in the log."""

_SAME = ("meta", "topics", "topic_settings", "subscriptions", "settings", "held", "keys")
"""Tables whose rows stay as they are."""


def upgrade(path: Path, found: StoreInfo | None, rows: int) -> None:
    """`found` is what a look at the store has found; `rows` are copied in one transaction. Does nothing where it is up
    to date or not there. Raises `UnusableStoreError`.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        for each in (fresh, fresh.with_name(fresh.name + "-journal")):
            each.unlink(missing_ok=True)
        if found is None or found.schema == VERSION:
            return
        with closing(apsw.Connection(str(path))) as old:  # without the layer that writes checksums
            old.pragma("locking_mode", "exclusive")
            log.info(
                "the store is of an older version and is written anew", extra={"schema": found.schema, "to": VERSION}
            )
            _check_room(path)
            old.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            vfs = StoreVfs()
            with closing(apsw.Connection(str(fresh), vfs=vfs.name)) as new:
                lay_out(new)
                new.pragma("locking_mode", "exclusive")
                new.pragma("journal_mode", "memory")  # the file is of no use before it is whole and synced
                new.pragma("synchronous", "off")
                copy(old, new, rows)
            vfs.unregister()
        if path.with_name(path.name + "-wal").exists():
            raise UnusableStoreError(f"{path}: its log could not be closed")
        sync(fresh)
        fresh.replace(path)
        sync(path)
    except apsw.FullError:
        raise UnusableStoreError(
            f"{path}: the disk is full, and this store of an older version takes room to be opened: make some"
        ) from None
    except apsw.Error as error:
        raise UnusableStoreError(f"{path}: {error}") from None
    except OSError as error:
        raise UnusableStoreError(f"{path}: {error.strerror}") from None


def copy(old: apsw.Connection, new: apsw.Connection, most: int) -> None:
    """All rows of an older store into an empty file, `most` in one transaction. Raises `apsw.Error`."""
    make_tables(new, {})
    there = {name for (name,) in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in _SAME:
        if table in there:
            columns = len(list(old.execute(f"SELECT * FROM pragma_table_info('{table}')")))
            _copy(new, old.execute(f"SELECT * FROM {table}"), most, {table: columns}, lambda row: (row,))
    last: Any = old.execute("SELECT coalesce(max(id), 0) FROM pieces").fetchall()
    new.execute("INSERT INTO meta VALUES ('last_piece', ?)", last[0])
    pieces = old.execute("SELECT id, topic, first, count, time, expires, size, headers, offsets, body FROM pieces")
    _copy(new, pieces, most, {"pieces": 8, TABLE: 4}, lambda row: _split(row, row[0], *row[7:]))
    letters = old.execute(
        "SELECT id, topic, user, seq, dead, time, attempt, expires, headers, x'', body FROM letters ORDER BY id"
    )
    _copy(new, letters, most, {"letters": 9, TABLE: 4}, lambda row: _split(row, letter_content_id(row[0]), *row[8:]))
    delayed = old.execute("SELECT number, topic, due, ttl, count, headers, offsets, body FROM delayed")
    _copy(new, delayed, most, {"delayed": 6, TABLE: 4}, lambda row: _split(row, delayed_content_id(row[0]), *row[5:]))


def _split(row: Row, number: int, headers: bytes, offsets: bytes, body: bytes) -> tuple[Row, Row]:
    """The row without its content but with its digest, and the content."""
    content = (number, headers, offsets, body)
    return (*row[:-3], content_digest(*content)), content


def _copy(
    new: apsw.Connection,
    rows: Iterator[Row],
    most: int,
    tables: dict[str, int],
    split: Callable[[Row], tuple[Row, ...]],
) -> None:
    """`tables` with the number of their columns, in the order in which `split` gives their rows."""
    inserts = [f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})" for table, columns in tables.items()]
    copied = 0
    while some := [split(row) for row in islice(rows, most)]:
        with new:
            for number, insert in enumerate(inserts):
                new.executemany(insert, [each[number] for each in some])
        if (copied + len(some)) // REPORT_EVERY > copied // REPORT_EVERY:
            log.info("writing the store anew", extra={"table": next(iter(tables)), "rows": copied})
        copied += len(some)


def _check_room(path: Path) -> None:
    size = path.stat().st_size
    log_file = path.with_name(path.name + "-wal")
    size += log_file.stat().st_size if log_file.exists() else 0
    needed, free = size + size // 4, shutil.disk_usage(os.fspath(path.parent)).free
    if free < needed:
        raise UnusableStoreError(
            f"{path}: of an older version, and to write it anew takes {needed} bytes of room; {free} are free"
        )
