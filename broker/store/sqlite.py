"""The durable store: one SQLite file, one connection, one transaction a burst, synced before anybody is answered.

The write-ahead log with `synchronous=FULL` is synced at every commit (https://www.sqlite.org/wal.html). After a failed
commit nothing is known of the file (Rebello et al., ATC 2020): the broker exits, and starts from what is there. Bodies
stay in the file when a store is loaded, and are read when they are asked for.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from broker.records import Record
from broker.store.base import Content, DamagedError, StoreError, UnusableStoreError
from broker.store.burst import Burst, UserKey
from broker.store.contents import Contents
from broker.store.files import FILE, check_marker, leave_marker
from broker.store.pages import Pages
from broker.store.rows import Lost, Rows
from broker.store.schema import has_topics, open_database, other_brokers
from broker.store.sqlite_backup import SqliteBackup, remove_copies
from broker.store.thresholds import DEFAULT, StoreThresholds
from broker.store.upgrade import upgrade
from broker.store.writing import Writer

log = logging.getLogger("fanmail.broker")


class Owner(NamedTuple):
    """Whose store it is."""

    cluster: str
    broker: str
    brokers: str = ""
    """The ids of all brokers of the cluster, between commas: topics are spread over them."""


class SqliteStore:
    """Of one broker, in a folder of its own, which the caller has locked."""

    durable = True

    def __init__(
        self,
        folder: Path,
        owner: Owner,
        new_id: str,
        reserve: int,
        read: Callable[[], int] = lambda: 0,
        thresholds: StoreThresholds = DEFAULT,
    ) -> None:
        """`new_id` names the store where it is new; `reserve` in bytes is what stays free on the disk; `read` gives
        nanoseconds of a clock that only measures. Raises `UnusableStoreError`.
        """
        self.path = folder / FILE
        remove_copies(folder)
        self._reserve = reserve
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._thresholds = thresholds
        self._numbers: dict[bytes, int] = {}
        self._apart: dict[UserKey, set[int]] = {}
        self._cache: OrderedDict[int, Content] = OrderedDict()
        self._cached = 0
        """Bytes in the cache."""
        self._unwanted: deque[int] = deque()
        """Pieces that nobody wants and that are still to be deleted: very many at once would fill the log."""
        self._clock_written = 0
        self._reserved = 0
        """Up to this number pieces may be stored before more numbers are reserved."""
        self._pages = Pages(read)
        self.synced = 0
        self.lost: Sequence[Lost] = ()
        facts = {"store_id": new_id, "topics_begun": 0, "clock": 0, "last_piece": 0, **owner._asdict()}
        check_marker(self.path)
        upgrade(self.path)
        self._db = open_database(str(self.path), self._pages, facts)
        try:
            meta = self._read_meta()
            self._contents = Contents(self._db, self._pages)
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self.clock = max(1, int(meta.get("clock", 0)))
        self._reserved = int(meta.get("last_piece", 0))
        self._owner = owner
        found = Owner(meta.get("cluster", ""), meta.get("broker", ""), owner.brokers)
        if found != owner:
            raise UnusableStoreError(
                f"{self.path}: this is the store of broker {found.broker!r} of cluster {found.cluster!r}, "
                f"not of {owner.broker!r} of {owner.cluster!r}"
            )

    def load(self) -> Iterator[Record]:
        """The records that rebuild the state; the contents of pieces stay in the file."""
        try:
            self._check_brokers(self._read_meta())
            rows = Rows(self._db, self._contents)
            yield from rows.read()
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self._numbers, self._apart = rows.numbers, rows.apart
        self._writer = Writer(self._db, self._contents, rows.last_letter)
        self._unwanted.extend(rows.unwanted)
        self.lost = rows.lost

    def commit(self, burst: Sequence[Record], clock: int) -> None:
        """One transaction, synced. `clock` is the broker's, in microseconds."""
        writes = Burst(self._numbers, self._apart)
        writes.add(burst)
        self._unwanted.extend(number for number, row in writes.pieces.items() if row is None)
        self._pages.take()
        for attempt in range(3):
            try:
                self._write(writes, clock)
                break
            except apsw.CorruptError as error:
                if attempt == 2:
                    leave_marker(self.path, str(error))
                    raise StoreError(f"{self.path}: damaged: {error}") from None
                self._go_round_damage(error)
            except apsw.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
        self.synced = self._pages.take()

    def read(self, piece: int) -> Content:
        """What a stored piece says. Raises `DamagedError` and `StoreError`."""
        found = self._cache.get(piece)
        if found is not None:
            return found
        try:
            rows: list[Any] = self._db.execute("SELECT digest FROM pieces WHERE id = ?", (piece,)).fetchall()
            if not rows:
                raise DamagedError("its row is missing")
            content = self._contents.read(piece, rows[0][0])
        except (apsw.CorruptError, apsw.IOError) as error:
            raise DamagedError(str(error)) from None
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        self._cache[piece] = content
        self._cached += len(content.body)
        while self._cached > self._thresholds.cached_bytes and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1].body)
        return content

    def room(self) -> int:
        """Bytes that may still be written before the disk is at its reserve."""
        disk = os.fstatvfs(self._folder)
        return disk.f_bavail * disk.f_frsize - self._reserve

    def tidy(self) -> None:
        """Gives some of the free space in the file back; cheap where there is little."""
        most = self._thresholds
        try:
            if self._unwanted:
                with self._transaction():
                    deleted = self._delete_unwanted()
                self._deleted(deleted)
            if self._db.pragma("freelist_count") > (most.tidy_above if self.room() > most.scarce_bytes else 0):
                self._db.execute(f"PRAGMA incremental_vacuum({most.tidied_pages})").fetchall()
                # The file itself becomes shorter only now, and so does the log (https://www.sqlite.org/wal.html#ckpt).
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return  # another time: nothing has been changed
        except apsw.CorruptError as error:
            self._go_round_damage(error)
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None

    def backup(self, name: str) -> tuple[Path, SqliteBackup]:
        """A copy of the store as it is when the copy is complete, made in steps between the bursts."""
        target = self.path.with_name(name)
        return target, SqliteBackup(self._db, self._pages, target, self._thresholds.copied_pages)

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._db.close()
        if self._folder >= 0:
            self._pages.unregister()
            os.close(self._folder)
            self._folder = -1

    def _write(self, writes: Burst, clock: int) -> None:
        """The transaction. Raises `apsw.Error`; it is rolled back then."""
        with self._transaction():
            self._writer.write(writes)
            deleted = self._delete_unwanted()
            self._write_facts(writes, clock)
        self._deleted(deleted)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except apsw.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write_facts(self, writes: Burst, clock: int) -> None:
        update, many = "UPDATE meta SET value = ? WHERE name = ?", self._thresholds
        if writes.held or writes.keys or writes.returned or clock > self._clock_written + many.clock_us:
            self._db.execute(update, (clock, "clock"))
            self._clock_written = clock
        if writes.topics_begun:
            greater = "UPDATE meta SET value = max(value, ?) WHERE name = 'topics_begun'"
            self._db.execute(greater, (writes.topics_begun,))
        if writes.last_piece > self._reserved:
            self._reserved = writes.last_piece + many.numbers
            self._db.execute(update, (self._reserved, "last_piece"))

    def _delete_unwanted(self) -> int:
        """Within a transaction; how many are deleted when it is committed."""
        some = list(islice(self._unwanted, self._thresholds.deleted))
        if some:
            self._writer.delete_pieces(some)
        return len(some)

    def _deleted(self, count: int) -> None:
        for _ in range(count):
            self._unwanted.popleft()

    def _go_round_damage(self, error: apsw.CorruptError) -> None:
        log.error("a damaged page is left alone", extra={"file": str(self.path), "reason": str(error)})
        try:
            self._contents.be_careful()
        except apsw.Error as worse:
            leave_marker(self.path, str(worse))
            raise StoreError(f"{self.path}: damaged: {worse}") from None

    def _read_meta(self) -> dict[str, Any]:
        rows: list[Any] = self._db.execute("SELECT name, value FROM meta").fetchall()
        return dict(rows)

    def _check_brokers(self, meta: dict[str, Any]) -> None:
        made_for, wanted = meta.get("brokers", ""), self._owner.brokers
        if made_for == wanted:
            return
        if has_topics(self._db):
            raise UnusableStoreError(other_brokers(self.path, made_for, wanted))
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'brokers'", (wanted,))
