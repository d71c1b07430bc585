"""What messages say, in the file: read with a digest, so that damage is noticed at the message that has it.

The contents of pieces, dead letters and delayed publishes are in one table, apart from the tables that say where things
stand. SQLite never writes a page that it could not read: what cannot be deleted from a damaged page stays as lost
space, and where new contents would be written to it, another table of the same kind is begun.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import apsw
from xxhash import xxh3_64_intdigest

from broker.errors import DamagedError
from broker.records import Content
from broker.store.sqlite.deletion_queue import DELETE, PieceGroup
from broker.store.sqlite.tables import CONTENTS, PIECES, ContentRow, Table, another_contents
from broker.store.sqlite.vfs import StoreVfs, damage_allowed, table_made

ContentValues = tuple[int, bytes, bytes, bytes]
"""The columns of `ContentRow`."""


def letter_content_id(letter: int) -> int:
    """Return the id of a letter's content. Contents of pieces have the ids of the pieces, which are above 0."""
    return -2 * letter


def delayed_content_id(number: int) -> int:
    """Return the id of a delayed publish's content."""
    return -2 * number - 1


def content_digest(id_: int, headers: bytes, offsets: bytes, body: bytes) -> int:
    """Return the digest of a content and its id, a signed number of 64 bits."""
    found = xxh3_64_intdigest(headers, id_ & 0xFFFFFFFFFFFFFFFF)
    found = xxh3_64_intdigest(body, xxh3_64_intdigest(offsets, found))
    return found - 2**64 if found >= 2**63 else found


class Contents:
    """All contents of one open store. Methods raise `apsw.Error` unless they say otherwise."""

    def __init__(self, db: apsw.Connection, vfs: StoreVfs) -> None:
        self._db = db
        self._vfs = vfs
        self.damaged = False
        """There is a damaged page, so deletions are deferred."""
        self._deferred: deque[int] = deque()
        self._tables = self._find_tables()

    def read(self, id_: int, digest: int) -> Content:
        """Read one content.

        Raises `DamagedError` where it is not what was written, or cannot be read; other messages on a damaged page can
        be read.
        """
        try:
            found = self._find(id_)
        except (apsw.CorruptError, apsw.IOError) as error:
            reason = str(error)
        else:
            return _checked(digest, found, "it is not what was written")
        try:
            with damage_allowed(self._db, self._vfs):
                found = self._find(id_)
        except (apsw.CorruptError, apsw.IOError):
            raise DamagedError(reason) from None
        return _checked(digest, found, reason)

    def read_piece(self, piece: int) -> Content:
        """Read the content of a piece, by the digest that is kept with the piece. Raises as `read`."""
        try:
            rows: list[Any] = self._db.execute(PIECES.select("digest") + "WHERE id = ?", (piece,)).fetchall()
        except (apsw.CorruptError, apsw.IOError) as error:
            raise DamagedError(str(error)) from None
        if not rows:
            raise DamagedError("its row is missing")
        return self.read(piece, rows[0][0])

    def insert(self, rows: Sequence[ContentValues]) -> None:
        """Write contents; an id that was used before may be used again."""
        self._db.executemany(self._tables[0].replace, rows)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete contents, within a transaction.

        Once there is damage this is deferred: one page that cannot be read makes a whole transaction fail.
        """
        if self.damaged:
            self._deferred.extend(ids)
            return
        rows = [(id_,) for id_ in ids]
        for table in self._tables:
            self._db.executemany(table.delete, rows)

    def delete_pieces(self, groups: Iterable[PieceGroup]) -> None:
        """Delete the contents of pieces; the same holds as for `delete`."""
        if self.damaged:
            self._deferred.extend(piece for group in groups for piece in group.pieces())
            return
        rows = [(group.first, group.last, group.mask) for group in groups]
        for table in self._tables:
            self._db.executemany(DELETE.format(table.name), rows)

    def delete_deferred(self, most: int) -> None:
        """Delete at most `most` of the deferred contents, one by one and not durably.

        After a crash their space is lost, like that on damaged pages.
        """
        if not self._deferred:
            return
        self._db.pragma("synchronous", "normal")
        try:
            for id_ in [self._deferred.popleft() for _ in range(min(most, len(self._deferred)))]:
                for table in self._tables:
                    with suppress(apsw.CorruptError):
                        self._db.execute(table.delete, (id_,))
        finally:
            self._db.pragma("synchronous", "full")

    def add_table(self) -> None:
        """Begin another table, which takes new contents from now on."""
        with table_made(self._vfs):
            self._db.execute(another_contents(len(self._tables) + 1).create)
        self._tables = self._find_tables()

    def _find(self, id_: int) -> ContentRow | None:
        for table in self._tables:
            for row in self._db.execute(table.select() + "WHERE id = ?", (id_,)).fetchall():
                return ContentRow._make(row)
        return None

    def _find_tables(self) -> list[Table[ContentRow]]:
        """Return all tables, the newest first: new contents go into it."""
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB ?"
        found: list[Any] = self._db.execute(query, (f"{CONTENTS.name}*",)).fetchall()
        return [*map(another_contents, range(found[0][0], 1, -1)), CONTENTS]


class ContentCache:
    """Contents of pieces that were read, the newest up to `most` bytes and at least one: a batch is read in parts."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._contents: OrderedDict[int, Content] = OrderedDict()

    def get(self, piece: int) -> Content | None:
        """Return the content of a piece, None where it is not in the cache."""
        return self._contents.get(piece)

    def add(self, piece: int, content: Content) -> None:
        """Add a content that is not in the cache."""
        self._contents[piece] = content
        self._size += len(content.body)
        while self._size > self._most and len(self._contents) > 1:
            self._size -= len(self._contents.popitem(last=False)[1].body)


def _checked(digest: int, found: ContentRow | None, reason: str) -> Content:
    whole = found is not None and all(type(each) is bytes for each in found[1:])
    if found is None or not whole or content_digest(*found) != digest:
        raise DamagedError(reason)
    return Content(found.headers, found.offsets, found.body)
