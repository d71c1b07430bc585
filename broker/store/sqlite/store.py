"""The durable store: one SQLite file, one connection, one transaction per burst, synced before any reply is sent.

The write-ahead log with `synchronous=FULL` is synced at every commit (https://www.sqlite.org/wal.html). After a failed
commit nothing is known of the file (Rebello et al., ATC 2020): the broker exits, and starts from what is there. The
contents of messages stay in the file when a store is loaded, and are read when they are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from broker.errors import StoreError, UnusableStoreError
from broker.records import Content, Record
from broker.store.base import ANY_PIECE, LostMessage, Owner
from broker.store.sqlite.backup import SqliteBackup, remove_backups
from broker.store.sqlite.changes import RowChanges, UserKey
from broker.store.sqlite.contents import ContentCache, Contents
from broker.store.sqlite.deletion_queue import DeletionQueue
from broker.store.sqlite.disk_space import DiskSpace
from broker.store.sqlite.errors import unusable_on_error
from broker.store.sqlite.files import FILE, check_damage_marker, write_damage_marker, write_store_id
from broker.store.sqlite.loader import Loader
from broker.store.sqlite.meta import Meta, read_mark, read_meta
from broker.store.sqlite.read_only import StoreInfo, probe_store
from broker.store.sqlite.schema import open_database
from broker.store.sqlite.tables import META, MetaRow
from broker.store.sqlite.thresholds import DEFAULT, StoreThresholds
from broker.store.sqlite.upgrade import upgrade
from broker.store.sqlite.vfs import StoreVfs
from broker.store.sqlite.writer import Writer
from common.clock import Mark

log = logging.getLogger("fanmail.broker")


class SqliteStore:
    """The store of one broker, in a folder of its own, which the caller has locked."""

    durable = True
    fenced = False
    fileno: int | None = None
    stored_piece = ANY_PIECE

    def __init__(
        self,
        folder: Path,
        owner: Owner,
        new_id: str,
        reserve: int,
        read_ns: Callable[[], int] = lambda: 0,
        thresholds: StoreThresholds = DEFAULT,
        log_facts: Mapping[str, str | int] | None = None,
    ) -> None:
        """`new_id` becomes the id of a new store; `reserve` is how many bytes stay free on the disk.

        `read_ns` reads a clock that only measures. `log_facts` are those of a new store that is the state of a
        replicated log; an existing one must be of the same log. Raises `UnusableStoreError`.
        """
        self.path = folder / FILE
        remove_backups(folder)
        check_damage_marker(self.path)
        upgrade(self.path, _check_owner(self.path, owner, log_facts or {}), thresholds.upgraded_rows)
        self.synced_us: int | None = 0
        self.lost: Sequence[LostMessage] = ()
        self._thresholds = thresholds
        self._closed = False
        self._numbers: dict[bytes, int] = {}
        self._apart: dict[UserKey, set[int]] = {}
        self._cache = ContentCache(thresholds.cached_bytes)
        self._deletions = DeletionQueue(thresholds.group)
        self._space = DiskSpace(folder, reserve, thresholds)
        self._vfs = StoreVfs(read_ns, self._space.make_room)
        self._space.before_opening(self.path)
        facts = {"store_id": new_id, "topics_begun": 0, "clock": 0, "last_piece": 0, **owner._asdict()}
        self._db = open_database(self.path, self._vfs, {**facts, **(log_facts or {})})
        with unusable_on_error(self.path):
            meta = read_meta(self._db)
            self._contents = Contents(self._db, self._vfs)
        self._meta = Meta(meta, thresholds)
        self._writer = Writer(self._db, self._contents, 0)
        self.clock = read_mark(self.path, meta)
        self._name(str(meta["store_id"]), is_new=meta["store_id"] == new_id)
        self._space.set_log(self._db)

    def load(self) -> Iterator[Record]:
        """Yield the records that rebuild the state; the contents of pieces stay in the file."""
        loader = Loader(self.path, self._db, self._contents)
        with unusable_on_error(self.path):
            yield from loader.read()
        self._numbers, self._apart, self.lost = loader.numbers, loader.apart, loader.lost
        self._deletions.add(loader.unwanted)
        self._writer = Writer(self._db, self._contents, loader.last_letter)

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        """Write the burst in one transaction, synced."""
        changes = RowChanges(self._numbers, self._apart)
        changes.add(burst)
        self._store(changes, clock, [])

    def _store(self, changes: RowChanges, clock: Mark, also: list[MetaRow]) -> None:
        """Write the changes and further facts in one transaction, synced."""
        self._deletions.add(changes.freed)
        self._vfs.take_synced_us()
        for recover in (self._defer_deletions, self._contents.add_table, None):
            try:
                self._write(changes, clock, also)
                break
            except apsw.CorruptError as error:
                self._recover(error, recover)
            except apsw.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
        self.synced_us = self._vfs.take_synced_us()

    def settled(self) -> bool:
        """Return True: `begin` returns when the burst is synced."""
        return True

    def read(self, piece: int) -> Content:
        """Read the content of a stored piece. Raises `DamagedError` and `StoreError`."""
        found = self._cache.get(piece)
        if found is not None:
            return found
        try:
            content = self._contents.read_piece(piece)
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        self._cache.add(piece, content)
        return content

    def writable_bytes(self) -> int:
        """Return how many bytes may be written before the disk is at its reserve."""
        return self._space.writable_bytes()

    def reclaim(self) -> bool:
        """Delete some of what no subscriber needs, and return free pages to the file system; cheap if there is little.

        Return whether much is left.
        """
        most = self._thresholds.reclaimed_groups
        try:
            self._space.keep_up(self._db)
            if self._deletions:
                with self._transaction():
                    deleted = self._deletions.oldest(most)
                    self._writer.delete_pieces(deleted)
                self._deletions.remove(deleted)
            self._contents.delete_deferred(most * self._thresholds.group)
            if not self._contents.damaged:
                self._space.shrink(self._db)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return False  # another time: nothing has been changed
        except apsw.CorruptError as error:
            self._recover(error, None if self._contents.damaged else self._defer_deletions)
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        return len(self._deletions) > most

    def backup(self, name: str) -> tuple[Path, SqliteBackup]:
        """Begin a copy of the store as it is when the copy is complete, made in steps between the bursts."""
        target = self.path.with_name(name)
        return target, SqliteBackup(self._db, self._vfs, target, self._thresholds.copied_pages)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if not self._closed:
            self._closed = True
            self._space.keep_log(self._db)
            self._db.close()
            self._vfs.unregister()
            self._space.close()

    def _name(self, store_id: str, is_new: bool) -> None:
        """Note the id beside the file, so that a lost store is missed; before anybody is answered out of a new one."""
        try:
            write_store_id(self.path.parent, store_id)
        except OSError as error:
            if is_new:
                raise UnusableStoreError(f"{self.path.parent}: {error.strerror}") from None

    def _write(self, changes: RowChanges, clock: Mark, also: list[MetaRow]) -> None:
        """Write the changes in one transaction. Raises `apsw.Error`; it is rolled back then, and may be tried again."""
        facts = self._meta.due(changes, clock) + also
        with self._transaction():
            self._writer.write(changes)
            # Deleting must keep up with writing, also where only a quarter of each group is to be deleted.
            groups = 4 * len(changes.pieces) // self._thresholds.group
            deleted = self._deletions.oldest(max(self._thresholds.deleted_groups, groups))
            if deleted:
                self._writer.delete_pieces(deleted)
            if facts:
                self._db.executemany(META.replace, facts)
        self._deletions.remove(deleted)
        self._meta.written(facts, clock)

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

    def _defer_deletions(self) -> None:
        self._contents.damaged = True

    def _recover(self, error: apsw.CorruptError, recover: Callable[[], None] | None) -> None:
        """Prepare another try after a damaged page was met, which SQLite does not write.

        Raises `StoreError` where there is none.
        """
        log.error("a page of the store is damaged", extra={"file": str(self.path), "reason": str(error)})
        try:
            if recover is None:
                raise error
            recover()
        except apsw.Error as worse:
            write_damage_marker(self.path, str(worse))
            raise StoreError(f"{self.path}: damaged: {worse}") from None


def _check_owner(path: Path, owner: Owner, log_facts: Mapping[str, str | int]) -> StoreInfo | None:
    """Return whose store is there; `log_facts` are empty where it must not be of a replicated log.

    Raises `UnusableStoreError` for one that is lost or not for this broker; it is not changed then.
    """
    found = probe_store(path)
    if found is None:
        return None
    if (found.cluster, found.broker) != (owner.cluster, owner.broker):
        raise UnusableStoreError(
            f"{path}: this is the store of broker {found.broker!r} of cluster {found.cluster!r}, "
            f"not of {owner.broker!r} of {owner.cluster!r}"
        )
    log_id = str(log_facts.get("log", ""))
    if found.log_id != log_id:
        raise UnusableStoreError(f"{path}: {_of_log(found.log_id)}, and not {_of_log(log_id)}")
    return found


def _of_log(log_id: str) -> str:
    return f"the state of replicated log {log_id}" if log_id else "a store without a replicated log"
