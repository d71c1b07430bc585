"""A backlog far larger than a broker's memory: published, kept over a restart, read back to the last byte.

Large bodies first, then batches, over HTTP by four connections, each with a topic of its own. Only where asked for by
name: it takes minutes, and more than the backlog's size of the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from bench.harness.disk import GB, data_folder, size_of, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_most, say
from bench.harness.processes import BenchError, Cluster, Process, wait_for_front
from bench.loads.client import HttpConnection, Script, play, request
from bench.loads.scripts import Ids, ask, fetch_batches, make_batch, none_left, publish_batches
from bench.loads.station import CONNECTIONS, mailbox

SIZE, QUICK_SIZE = 10 * GB, 1 * GB
"""Bytes of the bodies, all together."""
MEMORY = 512 * 1024 * 1024
"""The broker's `memory` setting, and what it may have in memory at the most."""
ROOM = 1.5
"""Times the backlog's size that must be free on the disk."""
BODY = 64 * 1024
BATCH = make_batch(1000, 100)
BATCH_SHARE = 0.2
"""Of the bytes, published in batches; the rest is single bodies."""
LOAD_AIM = 5.0
"""Seconds until a broker is ready again for each million of stored messages."""
FILE_AIM = 0.1
"""Of the store's file at the top, what may be left when all is read and space was given back."""
PATIENCE = 300.0
"""Seconds that a broker may take to be ready."""
STILL, GIVE_BACK = 60.0, 1800.0
"""Seconds without a smaller file after which it is as small as it gets, and until nobody waits any longer."""
MIB = 1024 * 1024
_FILLING = bytes(range(256)) * (BODY // 256 - 1)


class Share(NamedTuple):
    """What one connection publishes and reads."""

    singles: int
    batches: int


def measure(options: Options) -> Section:
    """Raises `BenchError` where the disk is too small, and where anything is lost, doubled, out of order or changed."""
    size = QUICK_SIZE if options.quick else SIZE
    share = Share(int(size * (1 - BATCH_SHARE) / BODY / CONNECTIONS), int(size * BATCH_SHARE / 100_000 / CONNECTIONS))
    title = f"Backlog of {size / GB:g} GB under a broker with {MEMORY / MIB:.0f} MiB of memory"
    section = Section(title, "of what was published")
    with data_folder(int(size * ROOM) + GB) as folder:
        flags = (f"--memory={MEMORY}", f"--max-bytes={4 * SIZE}", "--max-messages=1000000000", *sqlite_flags(folder))
        with Cluster(1, 1, broker_flags=flags) as ours, Watch(lambda: ours.brokers[0], folder) as watch:
            stay = Stay(ours, watch, share)
            section.rows = [*stay.publish(), *stay.restart(), *stay.read(), *stay.give_back()]
            section.data = {"size": size, "memory": MEMORY, "samples": watch.samples, "marks": watch.marks}
    return section


class Watch(threading.Thread):
    """Looks at the broker's memory and its store's files twice a second. A context manager."""

    def __init__(self, broker: Callable[[], Process], folder: Path) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self.folder = folder
        self._over = threading.Event()
        self._began = time.monotonic()
        self.samples: list[tuple[float, int, int]] = []
        """Seconds, bytes in memory, bytes of files."""
        self.marks: list[tuple[float, str]] = []
        """When something began."""

    def mark(self, name: str) -> None:
        """Something begins."""
        self.marks.append((time.monotonic() - self._began, name))
        say(f"backlog: {name}")

    def run(self) -> None:
        while not self._over.wait(0.5):
            try:
                rss = self._broker().rss()
            except (OSError, BenchError):  # it is being restarted
                continue
            self.samples.append((time.monotonic() - self._began, rss, size_of(self.folder)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


class Stay:
    """What becomes of the backlog, in order. Each step returns its rows."""

    def __init__(self, ours: Cluster, watch: Watch, share: Share) -> None:
        self._ours = ours
        self._watch = watch
        self._share = share
        self._bytes = CONNECTIONS * (share.singles * BODY + share.batches * BATCH.messages * BATCH.size)
        self._messages = CONNECTIONS * (share.singles + share.batches * BATCH.messages)
        self._pieces = CONNECTIONS * (share.singles + share.batches)
        self._folder = watch.folder
        self._top = 0

    def publish(self) -> list[Row]:
        """All of it."""
        self._play(lambda topic: ask("POST", mailbox(topic)))
        before = size_of(self._folder)
        self._watch.mark("publish bodies")
        seconds = [self._play(lambda topic: _publish(topic, self._share.singles))]
        self._watch.mark("publish batches")
        seconds.append(self._play(lambda topic: publish_batches(topic, BATCH, self._share.batches)))
        self._top = size_of(self._folder)
        rows = self._speeds("publish", seconds)
        files = f"{before / MIB:,.0f} → {self._top / MIB:,.0f} MiB"
        rows.append(Row("store's files, before → at the top", files, self._published(), self._top / self._bytes))
        return [*rows, self._peak("publishing")]

    def restart(self) -> list[Row]:
        """The broker ends and comes back at the top of the backlog."""
        self._watch.mark("restart")
        seconds = self._ours.restart(0, PATIENCE)
        wait_for_front(self._ours.ports[0], self._ours.fronts[0])
        aim, met = at_most(seconds, LOAD_AIM * self._messages / 1e6)
        rss = self._ours.brokers[0].rss() / MIB
        against = f"{self._messages:,} messages in {self._pieces:,} publishes"
        return [Row("restart: s until ready", f"{seconds:.2f}, then {rss:.0f} MiB", against, None, aim, met)]

    def read(self) -> list[Row]:
        """All of it, in order, compared byte by byte; nothing is left."""
        self._watch.mark("read bodies")
        seconds = [self._play(lambda topic: _read(mailbox(topic), self._share.singles))]
        self._watch.mark("read batches")
        batches = self._share.batches
        seconds.append(self._play(lambda topic: fetch_batches(mailbox(topic), BATCH, batches, content=True)))
        self._play(lambda topic: none_left(mailbox(topic)))
        return [*self._speeds("read", seconds), self._peak("restarted, reading")]

    def give_back(self) -> list[Row]:
        """Waits until the files have stopped getting smaller."""
        self._watch.mark("give back")
        began = changed = time.monotonic()
        first = least = size_of(self._folder)
        while least > FILE_AIM / 4 * self._top and time.monotonic() < min(changed + STILL, began + GIVE_BACK):
            time.sleep(0.5)
            size = size_of(self._folder)
            if size < least:
                least, changed = size, time.monotonic()
        seconds = changed - began
        value = least / self._top
        aim, met = at_most(value, FILE_AIM)
        shown = f"{first / MIB:,.0f} → {least / MIB:,.0f} MiB in {seconds:.0f} s"
        name = "store's files, all read → given back"
        return [Row(name, shown, f"at the top {self._top / MIB:,.0f} MiB", value, aim, met)]

    def _play(self, script: Callable[[bytes], Script]) -> float:
        """Over connections of its own: a front closes those that say nothing for a while."""
        connections = [HttpConnection(self._ours.ports[0]) for _ in range(CONNECTIONS)]
        try:
            return play(connections, [script(b"t%d" % n) for n in range(CONNECTIONS)])
        finally:
            for each in connections:
                each.close()

    def _speeds(self, way: str, seconds: list[float]) -> list[Row]:
        singles = CONNECTIONS * self._share.singles
        batched = CONNECTIONS * self._share.batches * BATCH.messages
        kinds = (
            (singles, BODY, "bodies of 64 KiB"),
            (batched, BATCH.size, f"batches of {BATCH.messages:,} x 100 bytes"),
        )
        return [
            Row(f"{way} {name}", f"{count * size / took / 1e6:,.0f} MB/s", f"{count:,} messages, {took:.0f} s")
            for (count, size, name), took in zip(kinds, seconds, strict=True)
        ]

    def _peak(self, when: str) -> Row:
        peak = self._ours.brokers[0].peak()
        _, met = at_most(peak, MEMORY)
        name, aim = f"memory of the broker at the most, {when}", f"≤ {MEMORY / MIB:.0f} MiB"
        return Row(name, f"{peak / MIB:,.0f} MiB", self._published(), peak / self._bytes, aim, met)

    def _published(self) -> str:
        return f"{self._bytes / MIB:,.0f} MiB of bodies"


def _body(number: int) -> bytes:
    return b"%0256d" % number + _FILLING


def _publish(topic: bytes, count: int) -> Script:
    """Bodies that differ."""
    ids = Ids()
    for number in range(count):
        answer = yield request("POST", b"/%s" % topic, _body(number))
        ids.follow(answer.header(b"msg-id"))


def _read(target: bytes, count: int) -> Script:
    """What `_publish` has published."""
    asked = request("GET", target)
    ids = Ids()
    for number in range(count):
        answer = yield asked
        ids.follow(answer.header(b"msg-id"))
        if bytes(answer.body) != _body(number):
            raise BenchError(f"message {number} of {target.decode()} is not what was published")
