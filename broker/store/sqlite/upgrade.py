"""Brings an older store to the present schema: it is rewritten beside the old file, which the new one then replaces.

Since schema 3 there is a checksum on every page, which needs another layout of the whole file, and contents are kept
apart. The old file stays as it was until the new one is durable; after a crash in between the upgrade begins again.
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
from broker.store.sqlite.contents import content_digest, delayed_content_id, letter_content_id
from broker.store.sqlite.errors import unusable_on_error
from broker.store.sqlite.files import sync
from broker.store.sqlite.read_only import StoreInfo
from broker.store.sqlite.schema import LAID_OUT, VERSION, lay_out, make_tables
from broker.store.sqlite.tables import (
    CONTENTS,
    DELAYED,
    HELD,
    KEYS,
    LETTERS,
    META,
    PIECES,
    SETTINGS,
    SUBSCRIPTIONS,
    TOPIC_SETTINGS,
    TOPICS,
    ContentRow,
    Table,
)
from broker.store.sqlite.vfs import StoreVfs

log = logging.getLogger("fanmail.broker")

Row = tuple[Any, ...]

REPORT_EVERY = 500_000
"""Rows between two lines in the log."""

_SAME: tuple[Table[Any], ...] = (META, TOPICS, TOPIC_SETTINGS, SUBSCRIPTIONS, SETTINGS, HELD, KEYS)
"""Tables whose rows stay as they are; an older store may not have all of them."""
_PIECES = "SELECT id, topic, first, count, time, expires, size, headers, offsets, body FROM pieces"
_LETTERS = "SELECT id, topic, user, seq, dead, time, attempt, expires, headers, x'', body FROM letters ORDER BY id"
_DELAYED = "SELECT number, topic, due, ttl, count, headers, offsets, body FROM delayed"


def upgrade(path: Path, found: StoreInfo | None, rows: int) -> None:
    """Upgrade the store that `found` describes, copying `rows` rows per transaction.

    Does nothing where it is up to date or missing. Raises `UnusableStoreError`.
    """
    new_path = path.with_name(path.name + ".new")
    with unusable_on_error(path, "the disk is full, and opening this store of an older version takes room: make some"):
        for each in (new_path, new_path.with_name(new_path.name + "-journal")):
            each.unlink(missing_ok=True)
        if found is None or found.schema >= LAID_OUT:
            return
        log.info("the store is of an older version and is rewritten", extra={"schema": found.schema, "to": VERSION})
        _check_room(path)
        _rewrite(path, new_path, rows)
        if path.with_name(path.name + "-wal").exists():
            raise UnusableStoreError(f"{path}: its log could not be closed")
        sync(new_path)
        new_path.replace(path)
        sync(path)


def _rewrite(path: Path, new_path: Path, rows: int) -> None:
    """Write the rows of a store to another file, which is not durable yet."""
    with closing(apsw.Connection(str(path))) as old:  # without the layer that writes checksums
        old.pragma("locking_mode", "exclusive")
        old.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        vfs = StoreVfs()
        with closing(apsw.Connection(str(new_path), vfs=vfs.name)) as new:
            lay_out(new)
            new.pragma("locking_mode", "exclusive")
            new.pragma("journal_mode", "memory")  # the file is of no use before it is whole and synced
            new.pragma("synchronous", "off")
            copy(old, new, rows)
        vfs.unregister()


def copy(old: apsw.Connection, new: apsw.Connection, most: int) -> None:
    """Copy all rows of an older store into an empty file, `most` per transaction. Raises `apsw.Error`."""
    make_tables(new, {})
    there = {name for (name,) in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in _SAME:
        if table.name in there:
            order = "ORDER BY id" if table is KEYS else ""
            _copy(new, old.execute(table.select() + order), most, (table,), lambda row: (row,))
    last: Any = old.execute("SELECT coalesce(max(id), 0) FROM pieces").fetchall()
    new.execute(META.insert, ("last_piece", *last[0]))
    _copy(new, old.execute(_PIECES), most, (PIECES, CONTENTS), lambda row: _split(row, row[0]))
    _copy(new, old.execute(_LETTERS), most, (LETTERS, CONTENTS), lambda row: _split(row, letter_content_id(row[0])))
    _copy(new, old.execute(_DELAYED), most, (DELAYED, CONTENTS), lambda row: _split(row, delayed_content_id(row[0])))


def _split(row: Row, content_id: int) -> tuple[Row, ContentRow]:
    """Return the row without its content but with the digest, and the content."""
    *fields, headers, offsets, body = row
    content = ContentRow(content_id, headers, offsets, body)
    return (*fields, content_digest(*content)), content


def _copy(
    new: apsw.Connection,
    rows: Iterator[Row],
    most: int,
    tables: tuple[Table[Any], ...],
    split: Callable[[Row], tuple[Row, ...]],
) -> None:
    """Copy rows, of each of which `split` makes one for each of the tables."""
    copied = 0
    while some := [split(row) for row in islice(rows, most)]:
        with new:
            for number, table in enumerate(tables):
                new.executemany(table.insert, [each[number] for each in some])
        if (copied + len(some)) // REPORT_EVERY > copied // REPORT_EVERY:
            log.info("rewriting the store", extra={"table": tables[0].name, "rows": copied})
        copied += len(some)


def _check_room(path: Path) -> None:
    size = path.stat().st_size
    log_file = path.with_name(path.name + "-wal")
    size += log_file.stat().st_size if log_file.exists() else 0
    needed, free = size + size // 4, shutil.disk_usage(os.fspath(path.parent)).free
    if free < needed:
        raise UnusableStoreError(
            f"{path}: of an older version; rewriting it takes {needed} bytes of room, and {free} are free"
        )
