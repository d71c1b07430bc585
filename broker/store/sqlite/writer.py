"""What a burst comes to, written into the tables within one transaction."""

from __future__ import annotations

from typing import Any

import apsw

from broker.store.sqlite.changes import Row, RowChanges
from broker.store.sqlite.contents import Contents, content_digest, delayed_content_id, letter_content_id

Table = tuple[str, str, str]

_TABLES: tuple[Table, ...] = (
    ("keys_gone", "", "DELETE FROM keys WHERE topic = ?"),
    ("topics", "INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", "DELETE FROM topics WHERE number = ?"),
    (
        "topic_settings",
        "INSERT OR REPLACE INTO topic_settings VALUES (?, ?, ?, ?, ?)",
        "DELETE FROM topic_settings WHERE topic = ?",
    ),
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
    ("put_back", "", "UPDATE letters SET dead = 0 WHERE topic = ? AND user = ? AND seq = ?"),
    (
        "keys",
        "INSERT OR REPLACE INTO keys VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
        "DELETE FROM keys WHERE topic = ? AND key = ?",
    ),
)
"""Rows of a burst by their name there: how one is written, and how one is ended, in the order in which it is done."""
_RETURN = "UPDATE held SET until = 0, due = ? WHERE topic = ? AND user = ? AND seq = ?"


class Writer:
    """Of one store. Raises `apsw.Error`; the caller has begun a transaction, and rolls it back then."""

    def __init__(self, db: apsw.Connection, contents: Contents, last_letter: int) -> None:
        self._db = db
        self._contents = contents
        self._last_letter = last_letter

    def write(self, writes: RowChanges) -> None:
        """All rows of the burst but those that are only deleted, of pieces."""
        many = self._db.executemany
        if writes.users_gone:
            self._end_letters("topic = ? AND user = ?", list(writes.users_gone))
            many("DELETE FROM held WHERE topic = ? AND user = ?", list(writes.users_gone))
        fresh: list[Row] = []
        if writes.letters:
            fresh += self._write_letters(writes.letters)
        if writes.delayed:
            fresh += self._write_delayed(writes.delayed)
        pieces = [row for row in writes.pieces.values() if row is not None]
        if pieces:
            rows = [(*row[:7], content_digest(row[0], *row[7:])) for row in pieces]
            many("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            fresh += [(row[0], *row[7:]) for row in pieces]
        if fresh:
            self._contents.insert(fresh)
        for name, write, end in _TABLES:
            of_table: dict[Any, Row | None] = getattr(writes, name)
            if not of_table:
                continue
            ended = [key if type(key) is tuple else (key,) for key, row in of_table.items() if row is None]
            if ended:
                many(end, ended)
            if len(ended) < len(of_table):
                many(write, [row for row in of_table.values() if row is not None])
        if writes.returned:
            many(_RETURN, [(due, *key) for key, due in writes.returned.items()])

    def delete_pieces(self, numbers: list[int]) -> None:
        """Pieces that nobody wants."""
        self._contents.delete(numbers)
        self._db.executemany("DELETE FROM pieces WHERE id = ?", [(number,) for number in numbers])

    def _write_letters(self, letters: dict[Any, Row | None]) -> list[Row]:
        self._end_letters("topic = ? AND user = ? AND seq = ?", list(letters))
        rows, contents = [], []
        for row in letters.values():
            if row is None:
                continue
            *fields, headers, body = row
            self._last_letter += 1
            content = (letter_content_id(self._last_letter), headers, b"", body)
            rows.append((self._last_letter, *fields, content_digest(*content)))
            contents.append(content)
        self._db.executemany("INSERT INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return contents

    def _end_letters(self, which: str, keys: list[Row]) -> None:
        ended: list[int] = []
        for key in keys:
            ended += [
                letter_content_id(id_) for (id_,) in self._db.execute(f"SELECT id FROM letters WHERE {which}", key)
            ]
        if ended:
            self._contents.delete(ended)
            self._db.executemany(f"DELETE FROM letters WHERE {which}", keys)

    def _write_delayed(self, delayed: dict[int, Row | None]) -> list[Row]:
        ended = [number for number, row in delayed.items() if row is None]
        self._contents.delete(map(delayed_content_id, ended))
        self._db.executemany("DELETE FROM delayed WHERE number = ?", [(number,) for number in ended])
        rows, contents = [], []
        for row in delayed.values():
            if row is not None:
                content = (delayed_content_id(row[0]), *row[5:])
                rows.append((*row[:5], content_digest(*content)))
                contents.append(content)
        self._db.executemany("INSERT INTO delayed VALUES (?, ?, ?, ?, ?, ?)", rows)
        return contents
