"""What is in a store that no broker uses just now, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw

from broker.calendar import Calendar
from broker.store.base import UnusableStoreError
from broker.store.clock_facts import read_calendar
from broker.store.schema import check_header, has_topics, open_database


class TopicRow(NamedTuple):
    """A stored topic."""

    name: bytes
    epoch: str
    messages: int
    bytes: int
    """Content, with kept headers and the offsets of batches."""
    subscriptions: int
    deepest: int
    """Messages that wait for the user who is furthest behind; what is leased to him may not be counted."""
    oldest: int | None
    """When the oldest message was published, milliseconds since 1970 UTC."""


class Summary(NamedTuple):
    """A whole store."""

    cluster: str
    broker: str
    topics: int
    messages: int
    subscriptions: int
    held: int
    """Messages that are leased or wait to be handed out again."""
    dead: int
    delayed: int
    keys: int


def check_file(path: Path) -> None:
    """Raises `UnusableStoreError` for a file that is not a whole store. For a copy, which nobody writes."""
    try:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        db = apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags)
        try:
            check_header(db, str(path))
            _check_pages(db, path)
        finally:
            db.close()
    except apsw.Error as error:
        raise UnusableStoreError(f"{path}: {error}") from None


def begin_anew(path: Path, new_id: str) -> None:
    """Gives a store another id, from which the epochs of its topics follow. Raises `UnusableStoreError`."""
    db = open_database(str(path))
    try:
        db.execute("UPDATE meta SET value = ? WHERE name = 'store_id'", (new_id,))
    except apsw.Error as error:
        raise UnusableStoreError(f"{path}: {error}") from None
    finally:
        db.close()


class Inspection:
    """An open store, whose lock the caller has. Raises `UnusableStoreError` throughout."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UnusableStoreError(f"{path}: there is no store")
        self._path = path
        self._db = open_database(str(path))

    def check(self) -> None:
        """Looks at every page."""
        try:
            _check_pages(self._db, self._path)
        except apsw.Error as error:
            raise UnusableStoreError(f"{self._path}: {error}") from None

    def summary(self) -> Summary:
        """What there is, counted."""
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        return Summary(
            str(meta["cluster"]),
            str(meta["broker"]),
            self._number("count(*) FROM topics"),
            self._number("total(count) FROM pieces"),
            self._number("count(*) FROM subscriptions"),
            self._number("count(*) FROM held"),
            self._number("count(*) FROM letters WHERE dead"),
            self._number("count(*) FROM delayed"),
            self._number("count(*) FROM keys"),
        )

    def made_for(self) -> str | None:
        """The ids of the brokers over which its topics were spread, between commas; None where it has no topics."""
        if not has_topics(self._db):
            return None
        found: Any = self._db.execute("SELECT value FROM meta WHERE name = 'brokers'").fetchall()
        return str(found[0][0]) if found else ""

    def topics(self, prefix: bytes, most: int) -> Iterator[TopicRow]:
        """Those with the most messages first."""
        meta, calendar = dict(self._db.execute("SELECT name, value FROM meta")), Calendar()
        for record in read_calendar(self._path, meta):
            calendar.set(record.steps)
        for row in self._db.execute(_TOPICS, (len(prefix), prefix, most)):
            name, number, messages, size, subscriptions, end, position, oldest = row
            date = None if oldest is None else calendar.date(oldest)
            yield TopicRow(name, f"{meta['store_id']}{number:x}", messages, size, subscriptions, end - position, date)

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def _number(self, what: str) -> int:
        found: Any = self._db.execute(f"SELECT {what}").fetchall()[0][0]
        return int(found)


_TOPICS = """
WITH logs AS (
    SELECT topic, sum(count) AS messages, sum(size) AS size, max(first + count) AS ending, min(time) AS oldest,
        min(first) AS head
    FROM pieces GROUP BY topic
), readers AS (
    SELECT topic, count(*) AS subscriptions, min(position) AS behind, max(position) AS ahead
    FROM subscriptions GROUP BY topic
)
SELECT name, number, coalesce(messages, 0), coalesce(size, 0), coalesce(subscriptions, 0),
    coalesce(ending, max(topics.head, ahead)), max(behind, coalesce(logs.head, topics.head)), oldest
FROM topics LEFT JOIN logs ON logs.topic = number LEFT JOIN readers ON readers.topic = number
WHERE substr(name, 1, ?) = ? ORDER BY 3 DESC, name LIMIT ?
"""


def _check_pages(db: apsw.Connection, path: Path) -> None:
    for (found,) in db.execute("PRAGMA integrity_check(1)"):
        if found != "ok":
            raise UnusableStoreError(f"{path}: damaged: {found}")
