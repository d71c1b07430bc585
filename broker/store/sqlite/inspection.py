"""Looks at a store that no broker uses: what is in it, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from broker.calendar import Calendar
from broker.records import Content
from broker.store.sqlite.contents import Contents
from broker.store.sqlite.loader import HEADS, Loader
from broker.store.sqlite.meta import read_calendar, read_mark, read_meta
from broker.store.sqlite.read_only import check_pages, open_read_only
from broker.store.sqlite.schema import LAID_OUT
from broker.store.sqlite.slot_rows import read_epochs
from broker.store.sqlite.tables import DELAYED
from broker.store.sqlite.vfs import StoreVfs
from common.clock import Mark


class TopicRow(NamedTuple):
    """A stored topic."""

    name: bytes
    epoch: str
    messages: int
    bytes: int
    """Size of the content, with kept headers and the offsets of batches."""
    subscriptions: int
    deepest: int
    """Messages that wait for the user who is furthest behind; those leased to them may not be counted."""
    oldest: int | None
    """When the oldest message was published, milliseconds since 1970 UTC."""


class Summary(NamedTuple):
    """The counts of a whole store."""

    cluster: str
    broker: str
    topics: int
    messages: int
    subscriptions: int
    held: int
    """Messages that are leased or wait for redelivery."""
    dead: int
    delayed: int
    keys: int


@contextmanager
def inspect(path: Path) -> Iterator[Inspection]:
    """Open a store to look at it; it is not changed, and nobody may write it meanwhile.

    Raises `UnusableStoreError`, also for errors while it is used.
    """
    with open_read_only(path) as (db, vfs):
        yield Inspection(db, vfs, path)


class Inspection:
    """A store that is open for reading, of any schema."""

    def __init__(self, db: apsw.Connection, vfs: StoreVfs, path: Path) -> None:
        self._db = db
        self._contents = Contents(db, vfs)
        self.path = path

    def check(self) -> None:
        """Check every page. Raises `UnusableStoreError`."""
        check_pages(self._db, self.path)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the store by name (`meta.py`)."""
        return read_meta(self._db)

    def mark(self) -> Mark:
        """Return where the clocks stood. Raises `UnusableStoreError`."""
        return read_mark(self.path, self.facts())

    def last_delayed(self) -> int:
        """Return the greatest number of a delayed publish, 0 without any."""
        ((number,),) = self._db.execute(f"SELECT max(number) FROM {DELAYED.name}")
        return number or 0

    def loader(self) -> Loader | None:
        """Return what a broker would load with; None for an older schema."""
        laid_out = self._db.pragma("user_version") >= LAID_OUT
        return Loader(self.path, self._db, self._contents) if laid_out else None

    def read(self, piece: int) -> Content:
        """Read the content of a piece. Raises `DamagedError`."""
        return self._contents.read_piece(piece)

    def summary(self) -> Summary:
        """Count what is there."""
        meta = read_meta(self._db)
        return Summary(
            str(meta["cluster"]),
            str(meta["broker"]),
            self._number("count(*) FROM topics"),
            self._number(f"total(count) FROM pieces JOIN ({HEADS}) USING (topic) WHERE first >= head"),
            self._number("count(*) FROM subscriptions"),
            self._number("count(*) FROM held"),
            self._number("count(*) FROM letters WHERE dead"),
            self._number("count(*) FROM delayed"),
            self._number("count(*) FROM keys"),
        )

    def topics(self, prefix: bytes, most: int) -> Iterator[TopicRow]:
        """Yield at most `most` topics whose names begin with `prefix`, those with the most messages first."""
        meta, calendar = read_meta(self._db), Calendar()
        for record in read_calendar(self.path, meta):
            calendar.set(record.steps)
        epochs = read_epochs(self._db)
        for row in self._db.execute(_TOPICS.format(HEADS), (len(prefix), prefix, most)):
            name, number, messages, size, subscriptions, end, position, oldest = row
            date = None if oldest is None else calendar.date(oldest)
            epoch = epochs.get(number) or f"{meta['store_id']}{number:x}"
            yield TopicRow(name, epoch, messages, size, subscriptions, end - position, date)

    def _number(self, what: str) -> int:
        found: Any = self._db.execute(f"SELECT {what}").fetchall()[0][0]
        return int(found)


_TOPICS = """
WITH logs AS (
    SELECT topic, sum(count) AS messages, sum(size) AS size, max(first + count) AS ending, min(time) AS oldest,
        min(first) AS oldest_seq
    FROM pieces JOIN ({}) USING (topic) WHERE first >= head GROUP BY topic
), readers AS (
    SELECT topic, count(*) AS subscriptions, min(position) AS behind, max(position) AS ahead
    FROM subscriptions GROUP BY topic
)
SELECT name, number, coalesce(messages, 0), coalesce(size, 0), coalesce(subscriptions, 0),
    coalesce(ending, max(topics.head, ahead)), max(behind, coalesce(oldest_seq, topics.head)), oldest
FROM topics LEFT JOIN logs ON logs.topic = number LEFT JOIN readers ON readers.topic = number
WHERE substr(name, 1, ?) = ? ORDER BY 3 DESC, name LIMIT ?
"""
