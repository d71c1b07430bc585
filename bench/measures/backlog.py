"""A backlog far larger than the memory of a broker: published, kept over a restart, read back completely.

Large bodies first, then batches, over HTTP by four connections with one topic each. Runs only if named by `--only`: it
takes minutes, and more disk space than the backlog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from bench.harness.disk import GB, data_folder, size_of, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import BenchError, Cluster, Process, wait_for_front
from bench.loads.client import HttpConnection, Script, play, request
from bench.loads.scripts import Ids, ask, expect_empty, fetch_batches, make_batch, publish_batches
from bench.loads.testbed import CONNECTIONS, subscription_path
from common.units import MIB

SIZE, QUICK_SIZE = 10 * GB, 1 * GB
"""Total bytes of the bodies."""
MEMORY = 512 * 1024 * 1024
"""The `memory` setting of the broker, and the aim of its peak memory."""
FREE_FACTOR = 1.5
"""Required free disk space as a multiple of the size of the backlog."""
BODY = 64 * 1024
BATCH = make_batch(1000, 100)
BATCH_SHARE = 0.2
"""Fraction of the bytes that is published in batches; the rest is single bodies."""
LOAD_AIM = 5.0
"""Seconds per million stored messages until a restarted broker is ready."""
FILE_AIM = 0.1
"""Fraction of the peak size of the store's files that may remain when all is read and space is reclaimed."""
READY_TIMEOUT_S = 300.0
"""Seconds until a broker must be ready."""
SHRINK_IDLE_S, SHRINK_TIMEOUT_S = 60.0, 1800.0
"""Seconds without shrinking after which the files count as final, and the longest wait for that."""
_PADDING = bytes(range(256)) * (BODY // 256 - 1)


class Share(NamedTuple):
    """What one connection publishes and reads."""

    singles: int
    batches: int


def measure(options: Options) -> Section:
    """Measure. Raises `BenchError` if the disk is too small, or a message is lost, repeated, reordered or changed."""
    size = QUICK_SIZE if options.quick else SIZE
    share = Share(int(size * (1 - BATCH_SHARE) / BODY / CONNECTIONS), int(size * BATCH_SHARE / 100_000 / CONNECTIONS))
    title = f"Backlog of {size / GB:g} GB under a broker with {MEMORY / MIB:.0f} MiB of memory"
    section = Section(title, "of the published bytes")
    with data_folder(int(size * FREE_FACTOR) + GB) as folder:
        flags = (f"--memory={MEMORY}", f"--max-bytes={4 * SIZE}", "--max-messages=1000000000", *sqlite_flags(folder))
        with Cluster(1, 1, broker_flags=flags) as ours, Watch(lambda: ours.brokers[0], folder) as watch:
            run = BacklogRun(ours, watch, share)
            section.rows = [*run.publish(), *run.restart(), *run.read(), *run.reclaim()]
            section.data = {"size": size, "memory": MEMORY, "samples": watch.samples, "marks": watch.marks}
    return section


class Watch(threading.Thread):
    """Samples the memory of the broker and the size of its files twice per second. A context manager."""

    def __init__(self, broker: Callable[[], Process], folder: Path) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self.folder = folder
        self._stopped = threading.Event()
        self._began = time.monotonic()
        self.samples: list[tuple[float, int, int]] = []
        """Seconds, bytes in memory, bytes of files."""
        self.marks: list[tuple[float, str]] = []
        """Seconds and name of each phase."""

    def mark(self, name: str) -> None:
        """Record the beginning of a phase."""
        self.marks.append((time.monotonic() - self._began, name))
        progress(f"backlog: {name}")

    def run(self) -> None:
        while not self._stopped.wait(0.5):
            try:
                rss = self._broker().rss()
            except (OSError, BenchError):  # the broker is restarting
                continue
            self.samples.append((time.monotonic() - self._began, rss, size_of(self.folder)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()


class BacklogRun:
    """The phases of the backlog, in order. Each returns its rows of the table."""

    def __init__(self, ours: Cluster, watch: Watch, share: Share) -> None:
        self._ours = ours
        self._watch = watch
        self._share = share
        self._bytes = CONNECTIONS * (share.singles * BODY + share.batches * BATCH.messages * BATCH.size)
        self._messages = CONNECTIONS * (share.singles + share.batches * BATCH.messages)
        self._pieces = CONNECTIONS * (share.singles + share.batches)
        self._folder = watch.folder
        self._peak_size = 0

    def publish(self) -> list[Row]:
        """Publish everything."""
        self._play(lambda topic: ask("POST", subscription_path(topic)))
        before = size_of(self._folder)
        self._watch.mark("publish bodies")
        seconds = [self._play(lambda topic: _publish(topic, self._share.singles))]
        self._watch.mark("publish batches")
        seconds.append(self._play(lambda topic: publish_batches(topic, BATCH, self._share.batches)))
        self._peak_size = size_of(self._folder)
        rows = self._speeds("publish", seconds)
        files = f"{before / MIB:,.0f} → {self._peak_size / MIB:,.0f} MiB"
        rows.append(Row("store's files, before → peak", files, self._published(), self._peak_size / self._bytes))
        return [*rows, self._peak("publishing")]

    def restart(self) -> list[Row]:
        """Restart the broker with the full backlog."""
        self._watch.mark("restart")
        seconds = self._ours.restart(0, READY_TIMEOUT_S)
        wait_for_front(self._ours.ports[0], self._ours.fronts[0])
        aim, met = at_most(seconds, LOAD_AIM * self._messages / 1e6)
        rss = self._ours.brokers[0].rss() / MIB
        against = f"{self._messages:,} messages in {self._pieces:,} publishes"
        return [Row("restart: s until ready", f"{seconds:.2f}, then {rss:.0f} MiB", against, None, aim, met)]

    def read(self) -> list[Row]:
        """Read everything in order, compare all bytes, and check that nothing is left."""
        self._watch.mark("read bodies")
        seconds = [self._play(lambda topic: _read(subscription_path(topic), self._share.singles))]
        self._watch.mark("read batches")
        batches = self._share.batches
        seconds.append(self._play(lambda topic: fetch_batches(subscription_path(topic), BATCH, batches, content=True)))
        self._play(lambda topic: expect_empty(subscription_path(topic)))
        return [*self._speeds("read", seconds), self._peak("after the restart, reading")]

    def reclaim(self) -> list[Row]:
        """Wait until the files stop shrinking."""
        self._watch.mark("reclaim")
        began = changed = time.monotonic()
        first = least = size_of(self._folder)
        while least > FILE_AIM / 4 * self._peak_size and time.monotonic() < min(
            changed + SHRINK_IDLE_S, began + SHRINK_TIMEOUT_S
        ):
            time.sleep(0.5)
            size = size_of(self._folder)
            if size < least:
                least, changed = size, time.monotonic()
        seconds = changed - began
        value = least / self._peak_size
        aim, met = at_most(value, FILE_AIM)
        shown = f"{first / MIB:,.0f} → {least / MIB:,.0f} MiB in {seconds:.0f} s"
        name = "store's files, all read → reclaimed"
        return [Row(name, shown, f"peak {self._peak_size / MIB:,.0f} MiB", value, aim, met)]

    def _play(self, script: Callable[[bytes], Script]) -> float:
        """Run one script per connection, over new connections: a front closes idle ones."""
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
        name, aim = f"peak memory of the broker, {when}", f"≤ {MEMORY / MIB:.0f} MiB"
        return Row(name, f"{peak / MIB:,.0f} MiB", self._published(), peak / self._bytes, aim, met)

    def _published(self) -> str:
        return f"{self._bytes / MIB:,.0f} MiB of bodies"


def _body(number: int) -> bytes:
    return b"%0256d" % number + _PADDING


def _publish(topic: bytes, count: int) -> Script:
    """Publish `count` different bodies."""
    ids = Ids()
    for number in range(count):
        answer = yield request("POST", b"/%s" % topic, _body(number))
        ids.follow(answer.header(b"msg-id"))


def _read(target: bytes, count: int) -> Script:
    """Read and compare what `_publish` has published."""
    asked = request("GET", target)
    ids = Ids()
    for number in range(count):
        answer = yield asked
        ids.follow(answer.header(b"msg-id"))
        if bytes(answer.body) != _body(number):
            raise BenchError(f"message {number} of {target.decode()} differs from what was published")
