"""Start time and memory of a broker on a store with a million messages or subscriptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.harness.disk import data_folder, evict_from_page_cache, size_of, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import BROKER_FLAGS, BenchError, Group
from bench.loads.broker_client import BrokerClient
from bench.loads.scripts import make_batch
from broker.records import MessageStored, Payload, Record, SubscriptionSet, TopicBegan
from broker.store.base import Owner
from broker.store.sqlite.files import FILE
from broker.store.sqlite.store import SqliteStore
from common.clock import NEW
from common.cluster.description import describe_local, load_cluster
from common.units import MIB

AIM = 5.0
"""Seconds per million."""
MILLION = 1_000_000
TOPICS = 100
READY_TIMEOUT_S = 120.0
"""Seconds until a broker must be ready."""
COMMIT = 10_000
"""Records per commit while a store is filled."""
USER = b"user%08d"


class Case(NamedTuple):
    """A store with one kind of content."""

    name: str
    records: Callable[[int], Iterator[Record]]
    """Returns the records of `count` of them."""
    gauge: str
    """Field of `Loaded` that counts them."""


def measure(options: Options) -> Section:
    """Load each store once per round from the page cache, and once from the disk."""
    section = Section("Start of a broker on its store: seconds until ready", "an empty store", "memory; store file")
    count = options.amount(MILLION)
    with data_folder() as empty, Loader(empty) as loader:
        nothing = [loader.load().seconds for _ in range(options.rounds)]
    section.data = {"count": count, "empty": nothing, "cases": []}
    for case in CASES:
        with data_folder() as folder, Loader(folder) as loader:
            loader.fill(case.records(count))
            rounds = [(loader.load(), loader.load(from_disk=True)) for _ in range(options.rounds)]
            for each in (each for pair in rounds for each in pair):
                if getattr(each, case.gauge) < count:
                    raise BenchError(f"the broker loaded {getattr(each, case.gauge)} of {count} {case.name}")
            size = size_of(folder)
        seconds, cold = (median(pair[which].seconds for pair in rounds) for which in (0, 1))
        rss = int(median(pair[0].rss for pair in rounds))
        progress(f"loading, {count:,} {case.name}: {seconds:.2f} s, from the disk {cold:.2f} s")
        aim, met = at_most(seconds, AIM * count / MILLION)
        shown = f"{seconds:.2f}, from the disk {cold:.2f}"
        remark = f"{rss / MIB:,.0f} MiB; {size / MIB:,.0f} MiB"
        section.rows.append(Row(f"{count:,} {case.name}", shown, f"{median(nothing):.2f}", None, aim, met, remark))
        raw = {"name": case.name, "seconds": [warm.seconds for warm, _ in rounds], "rss": rss, "file": size}
        section.data["cases"].append(raw | {"from_disk": [each.seconds for _, each in rounds]})
    return section


class Loaded(NamedTuple):
    """One start of a broker."""

    seconds: float
    rss: int
    """Resident bytes when ready."""
    messages: int
    subscriptions: int


class Loader(Group):
    """Brokers that start one after another from the same store. A context manager."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self._data = data
        description = self.run_dir / "cluster.toml"
        description.write_text(describe_local(1, self.run_dir))
        self._map = load_cluster(description)

    def fill(self, records: Iterator[Record]) -> None:
        """Write the records to a new store."""
        folder = self._data / self._map.brokers[0].id
        folder.mkdir(0o700)
        store = SqliteStore(folder, Owner(self._map.name, folder.name), "00000000", 0)
        for _ in store.load():
            pass
        while burst := list(islice(records, COMMIT)):
            store.begin(burst, NEW)
        store.close()

    def load(self, from_disk: bool = False) -> Loaded:
        """Start a broker and stop it when it is ready. Raises `BenchError` if it does not become ready."""
        file = self._data / self._map.brokers[0].id / FILE
        if from_disk:
            evict_from_page_cache(file)
        flags = (f"--run-dir={self.run_dir}", *BROKER_FLAGS, *sqlite_flags(self._data))
        process = self.start("broker", f"--id={file.parent.name}", *flags)
        seconds, rss = process.ready(READY_TIMEOUT_S), process.rss()
        with BrokerClient(self._map, self._map.brokers[0]) as client:
            gauges = client.stats()
        process.stop()
        return Loaded(seconds, rss, gauges["messages"], gauges["subscriptions"])


def _singles(count: int) -> Iterator[Record]:
    """Yield `count` single messages, spread over the topics."""
    now = time.time_ns() // 1_000_000
    yield from _topics()
    for n in range(count):
        yield MessageStored(b"topic%d" % (n % TOPICS), n // TOPICS + 1, now, Payload(b"", b"%0100d" % n), piece=n + 1)


def _batches(count: int) -> Iterator[Record]:
    """Yield `count` messages in batches of 1,000."""
    now = time.time_ns() // 1_000_000
    batch = make_batch(1000, 100)
    step = 4 + batch.size
    offsets = b"".join((n * step).to_bytes(4, "little") for n in range(batch.messages + 1))
    yield from _topics()
    for n in range(count // batch.messages):
        seq = n // TOPICS * batch.messages + 1
        payload = Payload(b"", batch.frames, batch.messages, offsets)
        yield MessageStored(b"topic%d" % (n % TOPICS), seq, now, payload, piece=n + 1)


def _subscriptions(count: int) -> Iterator[Record]:
    """Yield `count` subscriptions of different users, spread over the topics."""
    yield from _topics()
    for n in range(count):
        yield SubscriptionSet(b"topic%d" % (n % TOPICS), USER % n, 1)


def _topics() -> Iterator[Record]:
    """Yield the topics, each with one subscriber."""
    for n in range(TOPICS):
        yield TopicBegan(b"topic%d" % n, n + 1, 1)
        yield SubscriptionSet(b"topic%d" % n, b"u", 1)


CASES = (
    Case("messages of 100 bytes", _singles, "messages"),
    Case("messages in batches of 1,000", _batches, "messages"),
    Case("subscriptions", _subscriptions, "subscriptions"),
)
