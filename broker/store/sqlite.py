"""The durable store: one SQLite file, one connection, one transaction a burst, synced before anybody is answered.

The write-ahead log with `synchronous=FULL` is synced at every commit (https://www.sqlite.org/wal.html). After a failed
commit nothing is known of the file (Rebello et al., ATC 2020): the broker exits, and starts from what is there. Bodies
stay in the file when a store is loaded, and are read when they are asked for.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from broker import records
from broker.letter import Letter
from broker.records import Record
from broker.store.base import Content, StoreError, UnusableStoreError
from broker.store.burst import Burst, UserKey
from broker.store.files import FILE, WAL, mark
from broker.store.looking import facts_of, look_for
from broker.store.schema import RETURN, WRITES, open_database, other_brokers
from broker.store.shrinking import limit_log, shrink
from broker.store.spare import SPARE_BYTES, Spare
from broker.store.sqlite_backup import SqliteBackup, remove_copies
from broker.store.timed_sync import TimedSync

CACHED_BYTES = 16 * 1024 * 1024
"""Contents that were read are kept, the newest up to so much and one always: a batch is read in many parts."""
DELETED_AT_ONCE = 20_000
"""Pieces that are deleted in one transaction."""
CLOCK_EVERY = 1_000_000
"""Microseconds that the stored clock may be behind when something is written."""


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
        self, folder: Path, owner: Owner, new_id: str, reserve: int, read: Callable[[], int] = lambda: 0
    ) -> None:
        """`new_id` names the store where it is new; `reserve` in bytes is what stays free on the disk; `read` gives
        nanoseconds of a clock that only measures. Raises `UnusableStoreError`.
        """
        self.path = folder / FILE
        remove_copies(folder)
        self._reserve = reserve
        self._owner = owner
        self._look_first()
        self._spare = Spare(folder, min(SPARE_BYTES, reserve // 2))
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._numbers: dict[bytes, int] = {}
        self._apart: dict[UserKey, set[int]] = {}
        self._cache: OrderedDict[int, Content] = OrderedDict()
        self._cached = 0
        """Bytes in the cache."""
        self._doomed: deque[int] = deque()
        """Pieces that nobody wants and that are still to be deleted: very many at once would fill the log."""
        self._clock_written = 0
        self._syncs = TimedSync(read, self._spare.give)
        self.synced = 0
        facts = {"store_id": new_id, "topics_begun": 0, "clock": 0, **owner._asdict()}
        if self._spare.short and self.path.exists() and self.path.stat().st_size:
            self._spare.become(Path(f"{self.path}{WAL}"))
        self._db = open_database(str(self.path), facts, self._syncs.name)
        try:
            meta = facts_of(self._db)
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self.clock = max(1, int(meta.get("clock", 0)))
        self._brokers_due = meta.get("brokers") != owner.brokers
        """The next commit is to name the brokers: there are no topics yet, or it is a store of schema 1."""
        self._mark(str(meta["store_id"]), is_new=meta["store_id"] == new_id)
        limit_log(self._db, self._spare.short)

    def _look_first(self) -> None:
        """Raises `UnusableStoreError` for a store that is lost, or is not for this broker; it is not changed then."""
        found = look_for(self.path)
        if found is None:
            return
        theirs = Owner(found.cluster, found.broker, self._owner.brokers)
        if theirs != self._owner:
            raise UnusableStoreError(
                f"{self.path}: this is the store of broker {theirs.broker!r} of cluster {theirs.cluster!r}, "
                f"not of {self._owner.broker!r} of {self._owner.cluster!r}"
            )
        if found.spread_over and found.spread_over != self._owner.brokers:
            raise UnusableStoreError(other_brokers(self.path, found.spread_over, self._owner.brokers))

    def _mark(self, store_id: str, is_new: bool) -> None:
        """So that it is missed where it gets lost. Before anybody is answered out of a new one."""
        try:
            mark(self.path.parent, store_id)
        except OSError as error:
            if is_new:
                raise UnusableStoreError(f"{self.path.parent}: {error.strerror}") from None

    def load(self) -> Iterator[Record]:
        """The records that rebuild the state; bodies stay in the file."""
        try:
            yield from self._load()
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None

    def commit(self, burst: Sequence[Record], clock: int) -> None:
        """One transaction, synced. `clock` is the broker's, in microseconds."""
        writes = Burst(self._numbers, self._apart)
        writes.add(burst)
        self._syncs.take()
        execute, executemany = self._db.execute, self._db.executemany
        try:
            execute("BEGIN IMMEDIATE")
            for name, write, end in WRITES:
                rows: dict[Any, Any] = getattr(writes, name)
                if not rows:
                    continue
                ended = [key if type(key) is tuple else (key,) for key, row in rows.items() if row is None]
                if name == "pieces" and (len(ended) > DELETED_AT_ONCE or self._doomed):
                    self._doomed.extend(piece for (piece,) in ended)
                    ended = [(self._doomed.popleft(),) for _ in range(min(DELETED_AT_ONCE, len(self._doomed)))]
                    executemany(end, ended)
                    if any(row is not None for row in rows.values()):
                        executemany(write, [row for row in rows.values() if row is not None])
                    continue
                if ended:
                    executemany(end, ended)
                if len(ended) < len(rows):
                    executemany(write, [row for row in rows.values() if row is not None])
            if writes.returned:
                executemany(RETURN, [(due, *key) for key, due in writes.returned.items()])
            if writes.held or writes.keys or writes.returned or clock > self._clock_written + CLOCK_EVERY:
                execute("UPDATE meta SET value = ? WHERE name = 'clock'", (clock,))
                self._clock_written = clock
            if writes.topics_begun:
                execute("UPDATE meta SET value = max(value, ?) WHERE name = 'topics_begun'", (writes.topics_begun,))
            if self._brokers_due:
                execute("INSERT OR REPLACE INTO meta VALUES ('brokers', ?)", (self._owner.brokers,))
            execute("COMMIT")
            self._brokers_due = False
            self.synced = self._syncs.take()
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None

    def read(self, piece: int) -> Content:
        """The body and offsets of a stored piece. Raises `StoreError`."""
        found = self._cache.get(piece)
        if found is not None:
            return found
        try:
            query = "SELECT body, offsets FROM pieces WHERE id = ?"
            rows: list[Any] = self._db.execute(query, (piece,)).fetchall()
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None
        if not rows:
            raise StoreError(f"{self.path}: piece {piece} is missing")
        content = self._cache[piece] = Content(*rows[0])
        self._cached += len(content.body)
        while self._cached > CACHED_BYTES and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1].body)
        return content

    def room(self) -> int:
        """Bytes that may still be written before the disk is at its reserve."""
        return self._free() - self._reserve

    def _free(self) -> int:
        disk = os.fstatvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def tidy(self) -> None:
        """Gives some of the free space in the file back; cheap where there is little."""
        was_short = self._spare.short
        self._spare.keep_up(self._free())
        if self._spare.short is not was_short:
            limit_log(self._db, self._spare.short)
        try:
            self._delete_doomed()
            shrink(self._db, self._spare, self._free(), self.room())
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return  # another time: nothing has been changed
        except apsw.Error as error:
            raise StoreError(f"{self.path}: {error}") from None

    def _delete_doomed(self) -> None:
        if self._doomed:
            some = [(self._doomed.popleft(),) for _ in range(min(DELETED_AT_ONCE, len(self._doomed)))]
            try:
                with self._db:
                    self._db.executemany("DELETE FROM pieces WHERE id = ?", some)
            except apsw.Error:
                self._doomed.extendleft(piece for (piece,) in some)
                raise

    def backup(self, name: str) -> tuple[Path, SqliteBackup]:
        """A copy of the store as it is when the copy is complete, made in steps between the bursts."""
        target = self.path.with_name(name)
        return target, SqliteBackup(self._db, target)

    def close(self) -> None:
        """Lets go of the file. May be called twice. Where the disk is full the log stays, and the room that it has."""
        if self._folder >= 0:
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(self._spare.short))
            self._db.close()
            self._syncs.unregister()
            os.close(self._folder)
            self._folder = -1

    def _load(self) -> Iterator[Record]:
        names: dict[int, bytes] = {}
        rows = self._db.execute
        meta = facts_of(self._db)
        last: Any = rows("SELECT coalesce(max(id), 0) FROM pieces").fetchall()
        yield records.StoreOpened(str(meta["store_id"]), int(meta["topics_begun"]), last[0][0])
        heads = dict(
            rows(
                "SELECT topic, min(first) FROM pieces JOIN topics ON number = topic WHERE first >= head GROUP BY topic"
            )
        )
        # A log without pieces is where its furthest reader is, or where its head was moved to.
        places = dict(rows("SELECT topic, max(position) FROM subscriptions GROUP BY topic"))
        changed = {number: values for number, *values in rows("SELECT * FROM topic_settings")}
        moved_to: dict[int, int] = {}
        for number, name, head in rows("SELECT number, name, head FROM topics ORDER BY number"):
            names[number], moved_to[number] = name, head
            self._numbers[name] = number
            yield records.TopicBegan(name, number, heads.get(number) or max(head, places.get(number, 0)))
            if number in changed:
                max_messages, max_bytes, max_age, drop_oldest = changed[number]
                flag = None if drop_oldest is None else bool(drop_oldest)
                yield records.TopicChanged(name, max_messages, max_bytes, max_age, flag)
        for id_, number, first, count, time, expires, size, headers in rows(
            "SELECT id, topic, first, count, time, expires, size, headers FROM pieces ORDER BY id"
        ):
            if number in names and first >= moved_to[number]:
                yield records.MessageStored(names[number], first, time, headers, b"", count, b"", expires, id_, size)
            else:  # its topic has ended, or let go of it, and it was still to be deleted
                self._doomed.append(id_)
        for number, user, position in rows("SELECT topic, user, position FROM subscriptions"):
            yield records.SubscriptionSet(names[number], user, position)
        for number, user, expires_after, max_deliveries in rows("SELECT * FROM settings"):
            yield records.SettingsSet(names[number], user, expires_after, max_deliveries)
        yield from self._load_held(names)
        yield from self._load_aside()

    def _load_held(self, names: dict[int, bytes]) -> Iterator[Record]:
        rows = self._db.execute
        for number, user, seq, dead, time, attempt, expires, headers, body in rows(
            "SELECT topic, user, seq, dead, time, attempt, expires, headers, body FROM letters ORDER BY id"
        ):
            yield records.DeadLettered(names[number], user, Letter(seq, time, attempt, headers, body, expires))
            if not dead:
                self._apart.setdefault((number, user), set()).add(seq)
                yield records.DeadReturned(names[number], user, (seq,))
        for number, user, seq, attempt, until, due in rows("SELECT topic, user, seq, attempt, until, due FROM held"):
            if attempt or until or due:  # else it is a letter that was put back, and stands so already
                yield records.Leased(names[number], user, seq, 1, attempt, until or 1)
            if not until:
                yield records.Returned(names[number], user, (seq,), due)

    def _load_aside(self) -> Iterator[Record]:
        rows = self._db.execute
        for topic, key, digest, at, subscribers, seq, due in rows(
            "SELECT topic, key, digest, at, subscribers, seq, due FROM keys ORDER BY id"
        ):
            yield records.KeyRemembered(topic, key, digest, at, subscribers, seq, due)
        for number, topic, due, ttl, count, headers, offsets, body in rows("SELECT * FROM delayed ORDER BY number"):
            yield records.PublishDelayed(number, topic, due, headers, body, count, offsets, ttl)
