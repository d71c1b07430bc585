"""Turns the rows of a store into the records that rebuild its state. What no subscriber needs is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw

from broker import records
from broker.errors import DamagedError
from broker.records import Content, DeadLetter, Record
from broker.store.base import LostMessage
from broker.store.sqlite.contents import Contents, delayed_content_id, letter_content_id
from broker.store.sqlite.meta import read_calendar, read_meta
from broker.store.sqlite.slot_rows import read_epochs, read_slots
from broker.store.sqlite.slot_tables import FOUNDED
from broker.store.sqlite.tables import (
    DELAYED,
    HELD,
    KEYS,
    LETTERS,
    PIECES,
    SETTINGS,
    SUBSCRIPTIONS,
    TOPIC_SETTINGS,
    TOPICS,
)


class Loader:
    """Reads one store, once. The public attributes are complete when `read` has ended."""

    def __init__(self, path: Path, db: apsw.Connection, contents: Contents) -> None:
        self._path = path
        self._db = db
        self._contents = contents
        self._epochs: dict[int, str] = {}
        self.numbers: dict[bytes, int] = {}
        """Numbers of the live topics by name."""
        self.apart: dict[tuple[int, bytes], set[int]] = {}
        """The letters of a user that were put back."""
        self.unwanted: list[int] = []
        """Pieces that are still to be deleted."""
        self.lost: list[LostMessage] = []
        self._before: dict[tuple[int, bytes, int], int] = {}
        """Attempts of the letters that were put back, when they were."""
        self._unread: set[tuple[int, bytes, int]] = set()
        """Letters that cannot be read."""
        self.last_letter = 0
        """The greatest id of a letter."""

    def read(self) -> Iterator[Record]:
        """Yield all records, in the order that `broker/records.py` promises.

        Raises `apsw.Error` and `UnusableStoreError`.
        """
        meta = read_meta(self._db)
        begun, last_piece, last_delayed = (
            int(meta.get(name, 0)) for name in ("topics_begun", "last_piece", "last_delayed")
        )
        spread_over = None if meta.get(FOUNDED) else meta.get("brokers")
        yield records.StoreOpened(str(meta["store_id"]), begun, last_piece, last_delayed, spread_over)
        yield from read_calendar(self._path, meta)
        yield from read_slots(self._db, meta)
        heads: dict[int, int] = dict(self._db.execute(HEADS))
        yield from self._topics(str(meta["store_id"]), heads)
        names = {number: name for name, number in self.numbers.items()}
        yield from self._pieces(names, heads)
        for number, user, position in SUBSCRIPTIONS.read(self._db):
            yield records.SubscriptionSet(names[number], user, position)
        for row in SETTINGS.read(self._db):
            yield records.SettingsSet(names[row.topic], row.user, row.expires_after, row.max_deliveries)
        yield from self._letters(names)
        yield from self._held(names)
        for topic, key, digest, at, subscribers, seq, due in KEYS.read(self._db, "ORDER BY id"):
            yield records.KeyRemembered(topic, key, digest, at, subscribers, seq, due)
        yield from self._delayed()

    def _topics(self, store_id: str, heads: dict[int, int]) -> Iterator[Record]:
        # A log without pieces is where its furthest reader is, or where its head was moved to.
        positions = SUBSCRIPTIONS.select("topic", "max(position)") + "GROUP BY topic"
        furthest: dict[int, int] = dict(self._db.execute(positions))
        changed = {row.topic: row for row in TOPIC_SETTINGS.read(self._db)}
        adopted = read_epochs(self._db)
        for number, name, head in TOPICS.read(self._db, "ORDER BY number"):
            self.numbers[name] = number
            self._epochs[number] = adopted.get(number) or f"{store_id}{number:x}"
            first = heads.get(number) or max(head, furthest.get(number, 0))
            yield records.TopicBegan(name, number, first, adopted.get(number, ""))
            if number in changed:
                it = changed[number]
                drop_oldest = None if it.drop_oldest is None else bool(it.drop_oldest)
                yield records.TopicChanged(name, it.max_messages, it.max_bytes, it.max_age, drop_oldest)

    def _pieces(self, names: dict[int, bytes], heads: dict[int, int]) -> Iterator[Record]:
        query = PIECES.select("id", "topic", "first", "count", "time", "expires", "size") + "ORDER BY id"
        for id_, number, first, count, time, expires, size in self._db.execute(query):
            if first >= heads.get(number, _NOTHING):
                yield records.MessageStored(
                    names[number], first, time, records.Payload(b"", b"", count), expires, id_, size
                )
            else:  # its topic has ended, or no subscriber needs it
                self.unwanted.append(id_)

    def _letters(self, names: dict[int, bytes]) -> Iterator[Record]:
        for row in LETTERS.read(self._db, "ORDER BY id"):
            key = (row.topic, row.user, row.seq)
            self.last_letter = row.id
            content = self._content(letter_content_id(row.id), row.digest, f"{self._epochs[row.topic]}-{row.seq}", 1)
            if content is None:
                self._unread.add(key)
                continue
            letter = DeadLetter(row.seq, row.time, row.attempt, content.headers, content.body, row.expires)
            yield records.DeadLettered(names[row.topic], row.user, letter)
            if not row.dead:
                self.apart.setdefault((row.topic, row.user), set()).add(row.seq)
                self._before[key] = row.attempt
                yield records.DeadReturned(names[row.topic], row.user, (row.seq,))

    def _held(self, names: dict[int, bytes]) -> Iterator[Record]:
        for number, user, seq, attempt, until, due in HELD.read(self._db):
            if (number, user, seq) in self._unread:
                continue
            if attempt or until or due:  # else it is a letter that was put back, which the state has so already
                put_back_at = self._before.get((number, user, seq), 0)
                if attempt <= put_back_at:  # not leased since, or by an older version, which counted from 0 again
                    attempt += put_back_at
                yield records.Leased(names[number], user, seq, 1, attempt, until or 1)
            if not until:
                yield records.Returned(names[number], user, (seq,), due)

    def _delayed(self) -> Iterator[Record]:
        for number, topic, due, ttl, count, digest in DELAYED.read(self._db, "ORDER BY number"):
            content = self._content(delayed_content_id(number), digest, f"delayed {number}", count)
            if content is not None:
                headers, offsets, body = content
                yield records.PublishDelayed(number, topic, due, records.Payload(headers, body, count, offsets), ttl)

    def _content(self, id_: int, digest: int, message: str, count: int) -> Content | None:
        try:
            return self._contents.read(id_, digest)
        except DamagedError as error:
            self.lost.append(LostMessage(message, count, str(error)))
            return None


_NOTHING = 2**63
HEADS = """
WITH held_logs AS (
    SELECT topic, min(seq) AS seq FROM held WHERE NOT EXISTS (
        SELECT 1 FROM letters WHERE letters.topic = held.topic AND letters.user = held.user AND letters.seq = held.seq
    ) GROUP BY topic
), readers AS (
    SELECT topic, min(position) AS position FROM subscriptions GROUP BY topic
), starts AS MATERIALIZED (
    SELECT number, max(head, min(position, coalesce(seq, position))) AS start
    FROM topics JOIN readers ON readers.topic = number LEFT JOIN held_logs ON held_logs.topic = number
)
SELECT topic, min(first) AS head FROM pieces JOIN starts ON number = topic WHERE first + count > start GROUP BY topic
"""
"""The oldest wanted piece of each log: the one in which its slowest reader is, or its oldest held message (letters
that were put back are not in the log), but none before the head that the log was moved to. What is older is deleted
over many commits, so some of it may still be there.
"""
