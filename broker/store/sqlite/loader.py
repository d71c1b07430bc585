"""From the rows of a store to the records that rebuild its state; what nobody wants any more is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from broker import records
from broker.errors import DamagedError
from broker.records import Content, DeadLetter, Record
from broker.store.base import LostMessage
from broker.store.sqlite.contents import Contents, delayed_content_id, letter_content_id
from broker.store.sqlite.meta import read_calendar


class Loader:
    """Reads one store, once. Raises `apsw.Error` and `UnusableStoreError`. What it finds beside the records is there
    when it is done.
    """

    def __init__(self, path: Path, db: apsw.Connection, contents: Contents) -> None:
        self._path = path
        self._db = db
        self._contents = contents
        self._epochs: dict[int, str] = {}
        self.numbers: dict[bytes, int] = {}
        """Of the live topics."""
        self.apart: dict[tuple[int, bytes], set[int]] = {}
        """Which letters of a user were put back."""
        self.unwanted: list[int] = []
        """Pieces that are still to be deleted."""
        self.lost: list[LostMessage] = []
        self._before: dict[tuple[int, bytes, int], int] = {}
        """Attempts of the letters that were put back, when they were."""
        self._unread: set[tuple[int, bytes, int]] = set()
        """Letters that are lost."""
        self.last_letter = 0

    def read(self) -> Iterator[Record]:
        """All records, in the order that `broker/records.py` promises."""
        rows = self._db.execute
        meta: dict[str, Any] = dict(rows("SELECT name, value FROM meta"))
        yield records.StoreOpened(str(meta["store_id"]), int(meta["topics_begun"]), int(meta["last_piece"]))
        yield from read_calendar(self._path, meta)
        heads: dict[int, int] = dict(rows(HEADS))
        yield from self._topics(str(meta["store_id"]), heads)
        names = {number: name for name, number in self.numbers.items()}
        for id_, number, first, count, time, expires, size in rows(
            "SELECT id, topic, first, count, time, expires, size FROM pieces ORDER BY id"
        ):
            if first >= heads.get(number, _NOTHING):
                yield records.MessageStored(
                    names[number], first, time, records.Payload(b"", b"", count), expires, id_, size
                )
            else:  # its topic has ended, or nobody wants it
                self.unwanted.append(id_)
        for number, user, position in rows("SELECT topic, user, position FROM subscriptions"):
            yield records.SubscriptionSet(names[number], user, position)
        for number, user, expires_after, max_deliveries in rows("SELECT * FROM settings"):
            yield records.SettingsSet(names[number], user, expires_after, max_deliveries)
        yield from self._letters(names)
        yield from self._held(names)
        yield from self._aside()

    def _topics(self, store_id: str, heads: dict[int, int]) -> Iterator[Record]:
        rows = self._db.execute
        # A log without pieces is where its furthest reader is, or where its head was moved to.
        places = dict(rows("SELECT topic, max(position) FROM subscriptions GROUP BY topic"))
        changed = {number: values for number, *values in rows("SELECT * FROM topic_settings")}
        for number, name, head in rows("SELECT number, name, head FROM topics ORDER BY number"):
            self.numbers[name] = number
            self._epochs[number] = f"{store_id}{number:x}"
            yield records.TopicBegan(name, number, heads.get(number) or max(head, places.get(number, 0)))
            if number in changed:
                max_messages, max_bytes, max_age, drop_oldest = changed[number]
                flag = None if drop_oldest is None else bool(drop_oldest)
                yield records.TopicChanged(name, max_messages, max_bytes, max_age, flag)

    def _letters(self, names: dict[int, bytes]) -> Iterator[Record]:
        for id_, number, user, seq, dead, time, attempt, expires, digest in self._db.execute(
            "SELECT id, topic, user, seq, dead, time, attempt, expires, digest FROM letters ORDER BY id"
        ):
            self.last_letter = id_
            content = self._content(letter_content_id(id_), digest, f"{self._epochs[number]}-{seq}", 1)
            if content is None:
                self._unread.add((number, user, seq))
                continue
            letter = DeadLetter(seq, time, attempt, content.headers, content.body, expires)
            yield records.DeadLettered(names[number], user, letter)
            if not dead:
                self.apart.setdefault((number, user), set()).add(seq)
                self._before[number, user, seq] = attempt
                yield records.DeadReturned(names[number], user, (seq,))

    def _held(self, names: dict[int, bytes]) -> Iterator[Record]:
        for number, user, seq, attempt, until, due in self._db.execute(
            "SELECT topic, user, seq, attempt, until, due FROM held"
        ):
            if (number, user, seq) in self._unread:
                continue
            if attempt or until or due:  # else it is a letter that was put back, and stands so already
                put_back_at = self._before.get((number, user, seq), 0)
                if attempt <= put_back_at:  # not leased since, or by an older version, which counted from 0 again
                    attempt += put_back_at
                yield records.Leased(names[number], user, seq, 1, attempt, until or 1)
            if not until:
                yield records.Returned(names[number], user, (seq,), due)

    def _aside(self) -> Iterator[Record]:
        rows = self._db.execute
        for topic, key, digest, at, subscribers, seq, due in rows(
            "SELECT topic, key, digest, at, subscribers, seq, due FROM keys ORDER BY id"
        ):
            yield records.KeyRemembered(topic, key, digest, at, subscribers, seq, due)
        for number, topic, due, ttl, count, digest in rows("SELECT * FROM delayed ORDER BY number"):
            content = self._content(delayed_content_id(number), digest, f"delayed {number}", count)
            if content is not None:
                headers, offsets, body = content
                yield records.PublishDelayed(number, topic, due, records.Payload(headers, body, count, offsets), ttl)

    def _content(self, number: int, digest: int, message: str, count: int) -> Content | None:
        try:
            return self._contents.read(number, digest)
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
"""The oldest wanted piece of each log: the one in which its slowest reader stands, or its oldest message that somebody
holds (letters that were put back are kept apart), but none before the head that the log was moved to. What is older is
deleted over many commits, and may be there in parts.
"""
