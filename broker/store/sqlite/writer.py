"""Writes the changes of a burst into the tables, within one transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import apsw

from broker.store.sqlite.changes import MessageKey, NewLetter, RowChanges, UserKey
from broker.store.sqlite.contents import Contents, ContentValues, content_digest, delayed_content_id, letter_content_id
from broker.store.sqlite.deletion_queue import DELETE, PieceGroup
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
    ContentRow,
    DelayedRow,
    LetterRow,
    Table,
)

R = TypeVar("R", bound=tuple[Any, ...])

_OF_USER = "topic = ? AND user = ?"
_OF_MESSAGE = "topic = ? AND user = ? AND seq = ?"


class Writer:
    """Writes to one store. Methods raise `apsw.Error`; the caller has begun a transaction, and rolls it back then."""

    def __init__(self, db: apsw.Connection, contents: Contents, last_letter: int) -> None:
        """`last_letter` is the greatest id of a letter in the store."""
        self._db = db
        self._contents = contents
        self._last_letter = last_letter

    def write(self, changes: RowChanges) -> None:
        """Write all changes, but leave the rows of freed pieces."""
        self._end_users(changes.users_gone)
        contents = self._write_letters(changes.letters)
        contents += self._write_delayed(changes.delayed)
        contents += self._write_pieces(changes)
        if contents:
            self._contents.insert(contents)
        self._many(f"DELETE FROM {KEYS.name} WHERE topic = ?", [(topic,) for topic in changes.keys_gone])
        self._change(TOPICS, changes.topics)
        self._change(TOPIC_SETTINGS, changes.topic_settings)
        self._change(SUBSCRIPTIONS, changes.subscriptions)
        self._change(SETTINGS, changes.settings)
        self._change(HELD, changes.held)
        self._change(KEYS, changes.keys)
        for table, rows in changes.slots.rows.items():
            self._change(table, rows)
        self._many(f"UPDATE {LETTERS.name} SET dead = 0 WHERE {_OF_MESSAGE}", changes.put_back)
        returned = [(due, *key) for key, due in changes.returned.items()]
        self._many(f"UPDATE {HELD.name} SET until = 0, due = ? WHERE {_OF_MESSAGE}", returned)

    def delete_pieces(self, groups: list[PieceGroup]) -> None:
        """Delete pieces with their contents."""
        self._contents.delete_pieces(groups)
        self._many(DELETE.format(PIECES.name), [(group.first, group.last, group.mask) for group in groups])

    def _many(self, statement: str, parameters: Collection[tuple[Any, ...]]) -> None:
        if parameters:
            self._db.executemany(statement, parameters)

    def _change(self, table: Table[R], rows: dict[Any, R | None]) -> None:
        """Write the rows, and delete those that are None."""
        if not rows:
            return
        deleted = [key if type(key) is tuple else (key,) for key, row in rows.items() if row is None]
        self._many(table.delete, deleted)
        if len(deleted) < len(rows):
            self._many(table.replace, [row for row in rows.values() if row is not None])

    def _end_users(self, users: dict[UserKey, None]) -> None:
        if users:
            self._delete_letters(_OF_USER, users)
            self._many(f"DELETE FROM {HELD.name} WHERE {_OF_USER}", users)

    def _write_pieces(self, changes: RowChanges) -> list[ContentValues]:
        rows: list[tuple[int, ...]] = []  # in the order of `PieceRow`; named tuples cost a microsecond more per message
        contents: list[ContentValues] = []
        for id_, (topic, it) in changes.pieces.items():
            payload = it.payload
            headers, offsets, body = payload.headers, payload.offsets, payload.body
            size, digest = len(headers) + len(offsets) + len(body), content_digest(id_, headers, offsets, body)
            rows.append((id_, topic, it.seq, payload.count, it.time, it.expires, size, digest))
            contents.append((id_, headers, offsets, body))
        self._many(PIECES.insert, rows)
        return contents

    def _write_letters(self, letters: dict[MessageKey, NewLetter | None]) -> list[ContentValues]:
        if not letters:
            return []
        self._delete_letters(_OF_MESSAGE, letters)
        rows: list[LetterRow] = []
        contents: list[ContentValues] = []
        for key, new in letters.items():
            if new is None:
                continue
            it = new.letter
            self._last_letter += 1
            content = ContentRow(letter_content_id(self._last_letter), it.headers, b"", it.body)
            digest = content_digest(*content)
            rows.append(LetterRow(self._last_letter, *key, int(new.dead), it.time, it.attempt, it.expires, digest))
            contents.append(content)
        self._many(LETTERS.insert, rows)
        return contents

    def _delete_letters(self, which: str, keys: Collection[tuple[Any, ...]]) -> None:
        deleted: list[int] = []
        for key in keys:
            found = self._db.execute(LETTERS.select("id") + f"WHERE {which}", key)
            deleted += [letter_content_id(id_) for (id_,) in found]
        if deleted:
            self._contents.delete(deleted)
            self._many(f"DELETE FROM {LETTERS.name} WHERE {which}", keys)

    def _write_delayed(self, delayed: dict[int, Any]) -> list[ContentValues]:
        if not delayed:
            return []
        deleted = [number for number, record in delayed.items() if record is None]
        self._contents.delete(list(map(delayed_content_id, deleted)))
        self._many(DELAYED.delete, [(number,) for number in deleted])
        rows: list[DelayedRow] = []
        contents: list[ContentValues] = []
        for number, it in delayed.items():
            if it is None:
                continue
            payload = it.payload
            content = ContentRow(delayed_content_id(number), payload.headers, payload.offsets, payload.body)
            rows.append(DelayedRow(number, it.topic, it.due_ms, it.ttl, payload.count, content_digest(*content)))
            contents.append(content)
        self._many(DELAYED.insert, rows)
        return contents
