"""The durable store: one SQLite file, one connection, one transaction a burst, synced before anybody is answered.

The write-ahead log with `synchronous=FULL` is synced at every commit (https://www.sqlite.org/wal.html). After a failed
commit nothing is known of the file (Rebello et al., ATC 2020): the broker exits, and starts from what is there. The
contents of messages stay in the file when a store is loaded, and are read when they are asked for.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from broker.errors import StoreError, UnusableStoreError
from broker.records import Content, Record
from broker.store.base import LostMessage
from broker.store.sqlite.backup import SqliteBackup, remove_backups
from broker.store.sqlite.changes import RowChanges, UserKey
from broker.store.sqlite.contents import Contents
from broker.store.sqlite.disk_space import DiskSpace
from broker.store.sqlite.files import FILE, check_damage_marker, write_damage_marker, write_store_id
from broker.store.sqlite.loader import Loader
from broker.store.sqlite.meta import FACT, calendar_entry, mark_entry, read_mark, read_meta
from broker.store.sqlite.read_only import StoreInfo, probe_store
from broker.store.sqlite.schema import describe_other_brokers, open_database
from broker.store.sqlite.thresholds import DEFAULT, StoreThresholds
from broker.store.sqlite.upgrade import upgrade
from broker.store.sqlite.vfs import StoreVfs
from broker.store.sqlite.writer import Writer
from common.clock import Mark

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
        remove_backups(folder)
        self._owner = owner
        check_damage_marker(self.path)
        upgrade(self.path, self._look_first(), thresholds.upgraded_rows)
        self._thresholds = thresholds
        self._space = DiskSpace(folder, reserve, thresholds)
        self._vfs = StoreVfs(read, self._space.make_room)
        self._closed = False
        self.synced = 0
        self.lost: Sequence[LostMessage] = ()
        self._numbers: dict[bytes, int] = {}
        self._apart: dict[UserKey, set[int]] = {}
        self._cache: OrderedDict[int, Content] = OrderedDict()
        self._cached = 0
        """Bytes in the cache."""
        self._unwanted: deque[int] = deque()
        """Pieces that nobody wants and that are still to be deleted: very many at once would fill the log."""
        facts = {"store_id": new_id, "topics_begun": 0, "clock": 0, "last_piece": 0, **owner._asdict()}
        self._space.before_opening(self.path)
        self._db = open_database(str(self.path), self._vfs, facts)
        try:
            meta = read_meta(self._db)
            self._contents = Contents(self._db, self._vfs)
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self._writer = Writer(self._db, self._contents, 0)
        self.clock = read_mark(self.path, meta)
        self._clock_written = 0
        self._marked = -thresholds.clock_us
        """When the mark was written, by the broker's clock; the first commit of a process does it."""
        self._reserved = int(meta.get("last_piece", 0))
        """Up to this number pieces may be stored before more numbers are reserved."""
        self._brokers_due = meta.get("brokers") != owner.brokers
        """The next commit is to name the brokers: there are no topics yet, or the store was of schema 1."""
        self._mark(str(meta["store_id"]), is_new=meta["store_id"] == new_id)
        self._space.set_log(self._db)

    def load(self) -> Iterator[Record]:
        """The records that rebuild the state; the contents of pieces stay in the file."""
        rows = Loader(self.path, self._db, self._contents)
        try:
            yield from rows.read()
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self._numbers, self._apart, self.lost = rows.numbers, rows.apart, rows.lost
        self._unwanted.extend(rows.unwanted)
        self._writer = Writer(self._db, self._contents, rows.last_letter)

    def commit(self, burst: Sequence[Record], clock: Mark) -> None:
        """One transaction, synced."""
        writes = RowChanges(self._numbers, self._apart)
        writes.add(burst)
        self._unwanted.extend(number for number, row in writes.pieces.items() if row is None)
        self._vfs.take()
        for go_round in (self._be_careful, self._contents.begin_another, None):
            try:
                self._write(writes, clock)
                break
            except apsw.CorruptError as error:
                self._go_round_damage(error, go_round)
            except apsw.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
        self.synced = self._vfs.take()

    def read(self, piece: int) -> Content:
        """What a stored piece says. Raises `DamagedError` and `StoreError`."""
        found = self._cache.get(piece)
        if found is not None:
            return found
        try:
            content = self._contents.read_piece(piece)
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        self._cache[piece] = content
        self._cached += len(content.body)
        while self._cached > self._thresholds.cached_bytes and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1].body)
        return content

    def writable_bytes(self) -> int:
        """Bytes that may still be written before the disk is at its reserve."""
        return self._space.writable_bytes()

    def reclaim(self) -> bool:
        """Gives some of the free space in the file back; cheap where there is little. Whether there is much more."""
        try:
            self._space.keep_up(self._db)
            if self._unwanted:
                with self._transaction():
                    deleted = self._delete_unwanted()
                self._deleted(deleted)
            self._contents.delete_put_off(self._thresholds.deleted)
            if not self._contents.careful:
                self._space.shrink(self._db)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return False  # another time: nothing has been changed
        except apsw.CorruptError as error:
            self._go_round_damage(error, None if self._contents.careful else self._be_careful)
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        return len(self._unwanted) > self._thresholds.deleted

    def backup(self, name: str) -> tuple[Path, SqliteBackup]:
        """A copy of the store as it is when the copy is complete, made in steps between the bursts."""
        target = self.path.with_name(name)
        return target, SqliteBackup(self._db, self._vfs, target, self._thresholds.copied_pages)

    def close(self) -> None:
        """Closes the file. May be called twice."""
        if not self._closed:
            self._closed = True
            self._space.keep_log(self._db)
            self._db.close()
            self._vfs.unregister()
            self._space.close()

    def _look_first(self) -> StoreInfo | None:
        """What is there. Raises `UnusableStoreError` for a store that is lost, or is not for this broker; it is not
        changed then.
        """
        found = probe_store(self.path)
        if found is None:
            return None
        theirs = Owner(found.cluster, found.broker, self._owner.brokers)
        if theirs != self._owner:
            raise UnusableStoreError(
                f"{self.path}: this is the store of broker {theirs.broker!r} of cluster {theirs.cluster!r}, "
                f"not of {self._owner.broker!r} of {self._owner.cluster!r}"
            )
        if found.spread_over and found.spread_over != self._owner.brokers:
            raise UnusableStoreError(describe_other_brokers(self.path, found.spread_over, self._owner.brokers))
        return found

    def _mark(self, store_id: str, is_new: bool) -> None:
        """So that it is missed where it gets lost. Before anybody is answered out of a new one."""
        try:
            write_store_id(self.path.parent, store_id)
        except OSError as error:
            if is_new:
                raise UnusableStoreError(f"{self.path.parent}: {error.strerror}") from None

    def _write(self, writes: RowChanges, clock: Mark) -> None:
        """The transaction. Raises `apsw.Error`; it is rolled back then, and may be tried again."""
        facts = self._facts(writes, clock)
        with self._transaction():
            self._writer.write(writes)
            deleted = self._delete_unwanted(sum(row is not None for row in writes.pieces.values()))
            if facts:
                self._db.executemany(FACT, list(facts.items()))
            if writes.topics_begun:
                greater = "UPDATE meta SET value = max(value, ?) WHERE name = 'topics_begun'"
                self._db.execute(greater, (writes.topics_begun,))
        self._deleted(deleted)
        self._reserved = facts.get("last_piece", self._reserved)
        self._clock_written = facts.get("clock", self._clock_written)
        self._marked = clock.mono if "mark" in facts else self._marked
        self._brokers_due = False

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

    def _facts(self, writes: RowChanges, clock: Mark) -> dict[str, Any]:
        """What is to be written into `meta`."""
        facts: dict[str, Any] = {}
        most = self._thresholds
        if writes.held or writes.keys or writes.returned or clock.mono > self._clock_written + most.clock_us:
            facts["clock"] = clock.mono
        if clock.mono > self._marked + most.clock_us:
            facts.update([mark_entry(clock)])
        if writes.calendar is not None:
            facts.update([calendar_entry(writes.calendar)])
        if writes.last_piece > self._reserved:
            facts["last_piece"] = writes.last_piece + most.numbers
        if self._brokers_due:
            facts["brokers"] = self._owner.brokers
        return facts

    def _delete_unwanted(self, written: int = 0) -> int:
        """Within a transaction that writes so many pieces; how many are deleted when it is committed."""
        some = list(islice(self._unwanted, max(self._thresholds.deleted, 2 * written)))
        if some:
            self._writer.delete_pieces(some)
        return len(some)

    def _deleted(self, count: int) -> None:
        for _ in range(count):
            self._unwanted.popleft()

    def _be_careful(self) -> None:
        self._contents.careful = True

    def _go_round_damage(self, error: apsw.CorruptError, how: Callable[[], None] | None) -> None:
        """Damaged pages are not written. Raises `StoreError` where there is no way round them."""
        log.error("a page of the store is damaged", extra={"file": str(self.path), "reason": str(error)})
        try:
            if how is None:
                raise error
            how()
        except apsw.Error as worse:
            write_damage_marker(self.path, str(worse))
            raise StoreError(f"{self.path}: damaged: {worse}") from None
