"""The commit of the durable store, compared with append and fdatasync of as many bytes on the same disk."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, NamedTuple

from bench.harness.disk import data_folder
from bench.harness.measurement import Options, Row, Section, progress, ratio, round_order
from bench.loads.scripts import make_batch
from broker.records import MessageStored, Payload, Record, SubscriptionSet, TopicBegan
from broker.store.base import Owner
from broker.store.sqlite.store import SqliteStore
from common.clock import NEW
from common.units import KIB

TOPIC = b"topic"
TIME_MS = 1_700_000_000_000
BATCH = make_batch(1000, 100)
STORE, BARE = "store", "append, fdatasync"
WARM = 100
"""Commits of the warm-up: the log of the store restarts after some."""
Times = dict[str, dict[str, list[list[float]]]]
"""Milliseconds per commit and round, by writer and case."""


class Case(NamedTuple):
    """One size of commits."""

    name: str
    commits: int
    """Per round."""
    pieces: int
    """Per commit."""
    messages: int
    """Messages per piece: one, or a batch."""
    body: bytes
    offsets: bytes = b""


CASES = (
    Case("1 message", 400, 1, 1, b"x" * 100),
    Case("32 messages", 400, 32, 1, b"x" * 100),
    Case("1,000 messages", 100, 1000, 1, b"x" * 100),
    Case("a batch of 1,000", 400, 1, BATCH.messages, BATCH.frames, bytes(4 * (BATCH.messages + 1))),
)
"""Messages of 100 bytes."""


class StoreWriter:
    """Writes messages of one topic to the store."""

    def __init__(self, folder: Path) -> None:
        self._store = SqliteStore(folder, Owner("bench", "b0"), "00000000", 0)
        for _ in self._store.load():
            pass
        self._store.begin([TopicBegan(TOPIC, 1, 1), SubscriptionSet(TOPIC, b"user", 1)], NEW)
        self._seq = 1
        self._piece = 1

    def write(self, case: Case) -> float:
        """Commit once; return the milliseconds."""
        burst: list[Record] = [
            MessageStored(
                TOPIC,
                self._seq + n * case.messages,
                TIME_MS,
                Payload(b"", case.body, case.messages, case.offsets),
                piece=self._piece + n,
            )
            for n in range(case.pieces)
        ]
        self._seq += case.pieces * case.messages
        self._piece += case.pieces
        began = time.perf_counter()
        self._store.begin(burst, NEW)
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        self._store.close()


class BareWriter:
    """Appends the content alone to a file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, case: Case) -> float:
        """Append and sync once; return the milliseconds."""
        content = (case.body + case.offsets) * case.pieces
        began = time.perf_counter()
        os.write(self._file, content)
        os.fdatasync(self._file)
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        os.close(self._file)


def measure(options: Options) -> Section:
    """Measure in this process, so that only the store is measured."""
    times: Times = {name: {case.name: [] for case in CASES} for name in (STORE, BARE)}
    written: dict[str, int] = {case.name: 0 for case in CASES}
    with data_folder() as folder:
        writers: dict[str, StoreWriter | BareWriter] = {STORE: StoreWriter(folder), BARE: BareWriter(folder / "bare")}
        try:
            for writer in writers.values():
                for _ in range(WARM):
                    writer.write(CASES[-1])
            for number in range(options.rounds):
                for case in CASES:
                    for name in round_order(writers, number):
                        before = _written()
                        commits = range(options.amount(case.commits))
                        times[name][case.name].append([writers[name].write(case) for _ in commits])
                        if name == STORE:
                            written[case.name] += _written() - before
                progress(f"sync, round {number + 1}/{options.rounds}")
        finally:
            for writer in writers.values():
                writer.close()
    return _section(times, written)


def _section(times: Times, written: dict[str, int]) -> Section:
    section = Section(
        "Commit of the durable store, messages of 100 bytes: p50/p99 ms", "append, fdatasync of as many bytes"
    )
    for case in CASES:
        rounds, bare = times[STORE][case.name], times[BARE][case.name]
        values = _flat(rounds)
        each, rate = mean(values), case.pieces * case.messages * 1000 / mean(values)
        remark = f"mean {each:.2f}: {rate:,.0f}/s; {written[case.name] / len(values) / KIB:,.0f} KiB written each"
        value = ratio([median(each) for each in rounds], [median(each) for each in bare])
        section.rows.append(Row(case.name, _shown(rounds), _shown(bare), value, remark=remark))
    section.data = {"ms": times, "written": written}
    return section


def percentiles(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return p50 and p99 of all rounds combined."""
    values = _flat(rounds)
    return median(values), quantiles(values, n=100, method="inclusive")[98]


def _flat(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [value for each in rounds for value in each]


def _shown(rounds: Sequence[Sequence[float]]) -> str:
    p50, p99 = percentiles(rounds)
    return f"{p50:.2f}/{p99:.2f}"


def _written() -> int:
    """Return the bytes that this process has passed to write calls (Linux, proc(5))."""
    fields: dict[str, Any] = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])
