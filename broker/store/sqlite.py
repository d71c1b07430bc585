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
from broker.store.clock_facts import FACT, calendar_fact, mark_fact, read_calendar, read_mark
from broker.store.files import FILE
from broker.store.schema import RETURN, WRITES, has_topics, open_database, other_brokers
from broker.store.sqlite_backup import SqliteBackup, remove_copies
from broker.store.timed_sync import TimedSync
from common.clock import BEHIND, Mark

CACHED_BYTES = 16 * 1024 * 1024
"""Contents that were read are kept, the newest up to so much and one always: a batch is read in many parts."""
TIDY_PAGES = 2048
"""Free pages that are given back at a time."""
TIDY_FROM = 4096
"""Free pages that are not worth it: steady load uses them again."""
DELETED_AT_ONCE = 20_000
"""Pieces that are deleted in one transaction."""
CLOCK_EVERY = BEHIND * 1000
"""Microseconds that the stored clock may be behind when something is written."""
SCARCE = 64 * 1024 * 1024
"""Bytes of room with which every free page is worth it: publishing may be refused for want of them."""


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
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._numbers: dict[bytes, int] = {}
        self._apart: dict[UserKey, set[int]] = {}
        self._cache: OrderedDict[int, Content] = OrderedDict()
        self._cached = 0
        """Bytes in the cache."""
        self._doomed: deque[int] = deque()
        """Pieces that nobody wants and that are still to be deleted: very many at once would fill the log."""
        self._clock_written = 0
        self._marked = -CLOCK_EVERY
        """When the mark was written, by the broker's clock; the first commit of a process does it."""
        self._syncs = TimedSync(read)
        self.synced = 0
        facts = {"store_id": new_id, "topics_begun": 0, "clock": 0, **owner._asdict()}
        self._db = open_database(str(self.path), facts, self._syncs.name)
        try:
            meta = self._read_meta()
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None
        self.clock = read_mark(self.path, meta)
        self._owner = owner
        found = Owner(meta.get("cluster", ""), meta.get("broker", ""), owner.brokers)
        if found != owner:
            raise UnusableStoreError(
                f"{self.path}: this is the store of broker {found.broker!r} of cluster {found.cluster!r}, "
                f"not of {owner.broker!r} of {owner.cluster!r}"
            )

    def load(self) -> Iterator[Record]:
        """The records that rebuild the state; bodies stay in the file."""
        try:
            yield from self._load()
        except apsw.Error as error:
            raise UnusableStoreError(f"{self.path}: {error}") from None

    def commit(self, burst: Sequence[Record], clock: Mark) -> None:
        """One transaction, synced."""
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
            if writes.held or writes.keys or writes.returned or clock.mono > self._clock_written + CLOCK_EVERY:
                execute(FACT, ("clock", clock.mono))
                self._clock_written = clock.mono
            if clock.mono > self._marked + CLOCK_EVERY:
                execute(FACT, mark_fact(clock))
                self._marked = clock.mono
            if writes.calendar is not None:
                execute(FACT, calendar_fact(writes.calendar))
            if writes.topics_begun:
                execute("UPDATE meta SET value = max(value, ?) WHERE name = 'topics_begun'", (writes.topics_begun,))
            execute("COMMIT")
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
        disk = os.fstatvfs(self._folder)
        return disk.f_bavail * disk.f_frsize - self._reserve

    def tidy(self) -> None:
        """Gives some of the free space in the file back; cheap where there is little."""
        try:
            self._delete_doomed()
            if self._db.pragma("freelist_count") > (TIDY_FROM if self.room() > SCARCE else 0):
                self._db.execute(f"PRAGMA incremental_vacuum({TIDY_PAGES})").fetchall()
                # The file itself becomes shorter only now, and so does the log (https://www.sqlite.org/wal.html#ckpt).
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
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
        """Lets go of the file. May be called twice."""
        self._db.close()
        if self._folder >= 0:
            self._syncs.unregister()
            os.close(self._folder)
            self._folder = -1

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

    def _load(self) -> Iterator[Record]:
        names: dict[int, bytes] = {}
        rows = self._db.execute
        meta = self._read_meta()
        self._check_brokers(meta)
        last: Any = rows("SELECT coalesce(max(id), 0) FROM pieces").fetchall()
        yield records.StoreOpened(str(meta["store_id"]), int(meta["topics_begun"]), last[0][0])
        yield from read_calendar(self.path, meta)
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
        before: dict[tuple[int, bytes, int], int] = {}
        """Attempts of the letters that were put back, when they were."""
        for number, user, seq, dead, time, attempt, expires, headers, body in rows(
            "SELECT topic, user, seq, dead, time, attempt, expires, headers, body FROM letters ORDER BY id"
        ):
            yield records.DeadLettered(names[number], user, Letter(seq, time, attempt, headers, body, expires))
            if not dead:
                self._apart.setdefault((number, user), set()).add(seq)
                before[number, user, seq] = attempt
                yield records.DeadReturned(names[number], user, (seq,))
        for number, user, seq, attempt, until, due in rows("SELECT topic, user, seq, attempt, until, due FROM held"):
            if attempt or until or due:  # else it is a letter that was put back, and stands so already
                put_back_at = before.get((number, user, seq), 0)
                if attempt <= put_back_at:  # not leased since, or by an older version, which counted from 0 again
                    attempt += put_back_at
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
