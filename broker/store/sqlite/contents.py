"""What messages say, in the file: read with its digest, so that damage is noticed at the message that has it.

Contents of pieces, dead letters and delayed publishes are in one table, apart from the tables that say where things
stand. A page that is damaged is never written again: what cannot be deleted from it stays as lost space, and where new
contents would go into it another table of the same kind is begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import apsw
from xxhash import xxh3_64_intdigest

from broker.errors import DamagedError
from broker.records import Content
from broker.store.sqlite.schema import CONTENTS
from broker.store.sqlite.vfs import StoreVfs, damage_allowed

Row = tuple[Any, ...]

TABLE = "contents"
"""The first table; those after it have a number behind the name."""


def letter_content_id(number: int) -> int:
    """The id of a letter's content. Those of pieces are their own, above 0."""
    return -2 * number


def delayed_content_id(number: int) -> int:
    """The id of a delayed publish's content."""
    return -2 * number - 1


def content_digest(number: int, headers: bytes, offsets: bytes, body: bytes) -> int:
    """Of a content with this id, a signed number of 64 bits."""
    found = xxh3_64_intdigest(headers, number & 0xFFFFFFFFFFFFFFFF)
    found = xxh3_64_intdigest(body, xxh3_64_intdigest(offsets, found))
    return found - 2**64 if found >= 2**63 else found


class Contents:
    """All contents of one open store. Raises `apsw.Error` but where said otherwise."""

    def __init__(self, db: apsw.Connection, vfs: StoreVfs) -> None:
        self._db = db
        self._vfs = vfs
        self.careful = False
        """There is damage."""
        self._put_off: deque[int] = deque()
        self._tables = self._all()

    def read(self, number: int, digest: int) -> Content:
        """Raises `DamagedError` where it is not what was written, or cannot be read. Other messages on a damaged page
        can be read.
        """
        try:
            found = self._find(number)
        except (apsw.CorruptError, apsw.IOError) as error:
            reason = str(error)
        else:
            return _checked(number, digest, found, "it is not what was written")
        try:
            with damage_allowed(self._db, self._vfs):
                found = self._find(number)
        except (apsw.CorruptError, apsw.IOError):
            raise DamagedError(reason) from None
        return _checked(number, digest, found, reason)

    def read_piece(self, piece: int) -> Content:
        """The same by the digest that is kept with the piece."""
        try:
            rows: list[Any] = self._db.execute("SELECT digest FROM pieces WHERE id = ?", (piece,)).fetchall()
        except (apsw.CorruptError, apsw.IOError) as error:
            raise DamagedError(str(error)) from None
        if not rows:
            raise DamagedError("its row is missing")
        return self.read(piece, rows[0][0])

    def insert(self, rows: Sequence[Row]) -> None:
        """Of id, headers, offsets and body; an id that was used before is used again."""
        self._db.executemany(f"INSERT OR REPLACE INTO {self._tables[0]} VALUES (?, ?, ?, ?)", rows)

    def delete(self, numbers: Iterable[int]) -> None:
        """Within a transaction. Once there is damage it is put off: a page that cannot be read makes the whole
        transaction fail.
        """
        if self.careful:
            self._put_off.extend(numbers)
            return
        rows = [(number,) for number in numbers]
        for table in self._tables:
            self._db.executemany(f"DELETE FROM {table} WHERE id = ?", rows)

    def delete_put_off(self, most: int) -> None:
        """Deletes what was put off, one by one and not durably: after a crash it is space that is lost, as what lies on
        damaged pages is.
        """
        if not self._put_off:
            return
        self._db.pragma("synchronous", "normal")
        try:
            for number in [self._put_off.popleft() for _ in range(min(most, len(self._put_off)))]:
                for table in self._tables:
                    with suppress(apsw.CorruptError):
                        self._db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))
        finally:
            self._db.pragma("synchronous", "full")

    def begin_another(self) -> None:
        """From now on new contents go into another table."""
        self._db.execute(CONTENTS.format(f"{TABLE}_{len(self._tables) + 1}"))
        self._tables = self._all()

    def _find(self, number: int) -> Row | None:
        for table in self._tables:
            query = f"SELECT headers, offsets, body FROM {table} WHERE id = ?"
            for row in self._db.execute(query, (number,)).fetchall():
                return row
        return None

    def _all(self) -> list[str]:
        """The newest first: into it goes what is new."""
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ? ORDER BY rowid DESC"
        found: list[Any] = self._db.execute(query, (f"{TABLE}*",)).fetchall()
        return [name for (name,) in found]


def _checked(number: int, digest: int, found: Row | None, reason: str) -> Content:
    whole = found is not None and all(type(each) is bytes for each in found)
    if found is None or not whole or content_digest(number, *found) != digest:
        raise DamagedError(reason)
    return Content(*found)
