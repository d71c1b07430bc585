"""Candidates of one broker on a log in memory: their real state, handlers and SQLite stores, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from broker.replica.entry import NO_CHAIN, Clocks, Entry, Genesis, Kind, encode_entry, say
from broker.replica.limits import ReplicaLimits
from broker.replica.store import Identity, ReplicaStore
from broker.store.base import Owner
from broker.store.sqlite.log_state import LogStateStore
from common.clock import ManualClock, Now
from tests.support.driver import STORE_ID, BrokerDriver
from tests.support.histories import LIMITS, History
from tests.support.memory_log import MemoryLog, SharedLog
from tests.support.tiny import TINY, TINY_STORE

LOG_ID = b"12345678"
GENESIS = Genesis("fanmail", "b0", STORE_ID, "")
NAMES = ("b0@h1", "b0@h2")


class VirtualTime:
    """A schedule that moves when it is told to."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = 100.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def after(self, seconds: float, work: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), work))

    def run(self, seconds: float) -> None:
        """Let time pass, and do what is due."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, work = heapq.heappop(self._due)
            work()
        self.now = end


def new_log(schedule: VirtualTime, max_bytes: int = 0) -> SharedLog:
    """Return a log with its GENESIS."""
    shared = SharedLog(schedule, max_bytes)
    entry = Entry(1, Kind.GENESIS, LOG_ID, 0, 0, Clocks(), NO_CHAIN, say(GENESIS))
    shared.commit(encode_entry(entry, NO_CHAIN), 0)
    return shared


class ReplicaDriver(BrokerDriver):
    """A broker core over a `ReplicaStore`, without a loop: `commit` ends a burst as the loop does."""

    store: ReplicaStore

    def attach(self, schedule: VirtualTime, log: MemoryLog) -> None:
        self.schedule = schedule
        self.log = log
        self.dispatcher.context.cuts = []
        self.store.attach(self.state, self.dispatcher.counters)

    def begin(self) -> None:
        """Begin the burst; it is under way afterwards."""
        cuts = self.dispatcher.context.take_cuts()
        self.store.begin(self.dispatcher.context.take_records(), self.clock.mark(), cuts)

    def commit(self) -> None:
        self.begin()
        self.until(self.store.settled)

    def until(self, done: Callable[[], bool]) -> None:
        for _ in range(20_000):
            if done():
                return
            self.schedule.run(0.001)
        raise AssertionError("it does not come to an end")

    def follow(self) -> None:
        """Run turns until everything in the log is applied."""
        self.until(
            lambda: not self.store.turn() and self.store.candidate.position.position == self.store._log.shared.last
        )  # type: ignore[attr-defined]

    def own(self) -> None:
        """Run turns until this candidate is the owner, and continue its clocks."""
        self.until(lambda: self.store.owns or self.store.turn())
        mark = self.store.clock
        self.clock._now = Now(mark.mono, max(mark.time, self.clock.now().time), self.clock.now().wall)


class ReplicaHistory(History):
    """A random history whose broker is the owner of a log."""

    def __init__(self, rng: Random, root: Path, shared: SharedLog, schedule: VirtualTime, name: str = NAMES[0]) -> None:
        self.shared = shared
        self.schedule = schedule
        self.name = name
        self.limits = ReplicaLimits(entry_bytes=rng.choice((300, 2**20)), flush_s=rng.choice((0.0, 0.003, 0.5)))
        super().__init__(rng, root)

    def open(self, clock: Any = None) -> ReplicaDriver:
        file = LogStateStore(
            self.folder, Owner("fanmail", "b0"), STORE_ID, -(2**40), LOG_ID.hex(), thresholds=TINY_STORE
        )
        others = tuple(each for each in NAMES if each != self.name)
        time, rng = self.schedule, self.rng
        who = Identity(GENESIS, LOG_ID, self.name, others, lambda: rng.randbytes(8), lambda: time.now, lambda: 0)
        log = MemoryLog(self.shared)
        store = ReplicaStore(log, file, who, self.limits)
        keep = rng.choice((0, 100, 2**40))
        clock = ManualClock() if clock is None else clock
        broker = ReplicaDriver(LIMITS, store, clock=clock, keep=keep, thresholds=TINY)
        broker.attach(time, log)
        return broker

    def killed(self) -> None:
        """Leave the folder as it is at this moment, and release everything."""
        self.lives += 1
        old, self.folder = self.folder, self.root / f"{self.lives}"
        shutil.copytree(old, self.folder)
        store: Any = self.broker.store
        store.local.file.close()  # which tidies up the old folder
        store._log.close()
        shutil.rmtree(old)
