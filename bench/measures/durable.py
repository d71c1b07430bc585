"""The durable store compared with memory: the same loads on one front and one broker each, interleaved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

from bench.harness.disk import data_folder, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_least, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS
from bench.loads.client import Script, play
from bench.loads.scripts import fetch_batches, get_after, make_batch, publish_batches
from bench.loads.testbed import Testbed, subscription_path
from bench.loads.wrk import Run
from bench.measures.http import (
    GET,
    POST,
    Case,
    Contender,
    expected_requests,
    fill_subscriptions,
    reset_topics,
    run_checked,
)

MEMORY, DURABLE = "memory", "durable"
SINGLE_AIM, BATCH_AIM = 0.6, 0.8
"""Fractions of the rate in memory: single publishes with 32 connections, and batches."""
BATCH = make_batch(1000, 100)
FEW, MANY = 4, 32
"""Connections with batches, one topic each: more connections share a commit."""
BATCHES = 2000
"""Total of all connections per round."""
AFTER_BATCHES = 2
"""Per subscription that is read one message at a time."""


class Load(NamedTuple):
    """One kind of load."""

    name: str
    prepare: Callable[[Testbed], None]
    run: Callable[[Testbed], Run | None]
    """Records its figures in the testbed under the name of the load."""
    aim: float | None = None


class Commits(NamedTuple):
    """Commits of the store of a broker in one run."""

    number: int
    us: int
    """Total microseconds."""


class Side:
    """One side of the comparison: its servers and their figures."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.figures = testbed.figures
        self.commits: dict[str, list[Commits]] = {}
        self.latencies: dict[str, list[tuple[float, float]]] = {}
        """p50 and p99 in milliseconds, for loads by wrk."""

    def turn(self, load: Load) -> None:
        """Run a load once."""
        load.prepare(self.testbed)
        before = self._commits()
        run = load.run(self.testbed)
        after = self._commits()
        self.commits.setdefault(load.name, []).append(Commits(after.number - before.number, after.us - before.us))
        if run is not None:
            self.latencies.setdefault(load.name, []).append((run.p50, run.p99))

    def clear(self) -> None:
        """Discard the figures of the warm-up."""
        self.figures.clear()
        self.commits.clear()
        self.latencies.clear()

    def shown(self, name: str) -> str:
        """Return the rate, and the latencies if known, as text."""
        rate = f"{self.figures.rate(name):,.0f}/s"
        if name not in self.latencies:
            return rate
        p50, p99 = (median(each) for each in zip(*self.latencies[name], strict=True))
        return f"{rate} {p50:.1f}/{p99:.1f}"

    def _commits(self) -> Commits:
        total = self.testbed.broker.total
        return Commits(total("commits"), total("commit_us"))


def measure(options: Options) -> Section:
    """Run each load on both sides in every round, with the order alternating."""
    loads = store_loads(options)
    with data_folder() as data, Testbed(MANY) as memory, Testbed(MANY, (*BROKER_FLAGS, *sqlite_flags(data))) as disk:
        sides = {MEMORY: Side(memory), DURABLE: Side(disk)}
        for load in store_loads(replace(options, seconds=1, quick=True)):  # warm
            for side in sides.values():
                side.turn(load)
        for side in sides.values():
            side.clear()
        for number in range(options.rounds):
            for load in loads:
                for name in round_order(sides, number):
                    sides[name].turn(load)
                rates = {name: side.figures.rates[load.name][-1] for name, side in sides.items()}
                share = rates[DURABLE] / rates[MEMORY]
                progress(
                    f"durable, round {number + 1}/{options.rounds}: {load.name} {rates[DURABLE]:,.0f}, {share:.2f}"
                )
    title = "Durable store, one front, one broker, by connections: messages per second, p50/p99 ms"
    section = Section(title, "in memory", "commits of the store; µs of CPU per message")
    section.rows = [_row(load, sides[DURABLE], sides[MEMORY]) for load in loads]
    for name, side in sides.items():
        section.data[name] = {**side.figures.raw(), "commits": side.commits, "latencies": side.latencies}
    section.data["aims"] = {load.name: load.aim for load in loads}
    return section


def store_loads(options: Options) -> list[Load]:
    """Return the loads that compare stores."""
    batches, after = options.amount(BATCHES), options.amount(AFTER_BATCHES)
    aims = {32: SINGLE_AIM}
    return [
        *(_wrk("publish", POST, connections, options, aims.get(connections)) for connections in (1, 32, 128)),
        _wrk("GET", GET, 32, options, None),
        _after(FEW, after),
        *(
            make(connections, batches // connections)
            for connections in (FEW, MANY)
            for make in (_publish_batches, _fetch_batches)
        ),
    ]


def _wrk(kind: str, case: Case, connections: int, options: Options, aim: float | None) -> Load:
    name = f"{kind}, {connections}"

    def prepare(testbed: Testbed) -> None:
        reset_topics(testbed.broker, GET.load.topics)
        if case is GET:
            fill_subscriptions(testbed.broker, expected_requests(options.seconds, 1))

    def run(testbed: Testbed) -> Run:
        watched = {process: [each] for process, each in testbed.watched.items()}
        contender = Contender(testbed.ports, watched, testbed.broker)
        came = run_checked(case, contender, testbed.broker, options.seconds, connections)
        testbed.figures.note(name, came.rate, came.cpu)
        return came

    return Load(name, prepare, run, aim)


def _after(connections: int, batches: int) -> Load:
    name, count = f"GET after, {connections}", batches * BATCH.messages

    def run(testbed: Testbed) -> None:
        _timed(testbed, connections, name, count, lambda topic: get_after(subscription_path(topic), BATCH.size, count))

    return Load(name, lambda testbed: _fill(testbed, connections, batches), run)


def _publish_batches(connections: int, batches: int) -> Load:
    name, count = f"publish {BATCH.messages:,} x {BATCH.size} bytes, {connections}", batches * BATCH.messages

    def run(testbed: Testbed) -> None:
        _timed(testbed, connections, name, count, lambda topic: publish_batches(topic, BATCH, batches))

    return Load(name, _clear, run, BATCH_AIM)


def _fetch_batches(connections: int, batches: int) -> Load:
    name, count = f"fetch {BATCH.messages:,} x {BATCH.size} bytes, {connections}", batches * BATCH.messages

    def run(testbed: Testbed) -> None:
        _timed(testbed, connections, name, count, lambda topic: fetch_batches(subscription_path(topic), BATCH, batches))

    return Load(name, lambda testbed: _fill(testbed, connections, batches), run, BATCH_AIM)


def _clear(testbed: Testbed) -> None:
    testbed.reconnect()
    testbed.subscribe(testbed.topics)


def _fill(testbed: Testbed, connections: int, batches: int) -> None:
    _clear(testbed)
    _play(testbed, connections, lambda topic: publish_batches(topic, BATCH, batches))


def _play(testbed: Testbed, connections: int, script: Callable[[bytes], Script]) -> float:
    """Run one script per connection on the first `connections`, made for its topic; return the seconds."""
    return play(testbed.connections[:connections], map(script, testbed.topics[:connections]))


def _timed(testbed: Testbed, connections: int, name: str, count: int, script: Callable[[bytes], Script]) -> None:
    """Run `_play` and record it as `count` messages per connection."""
    play_all = partial(_play, testbed, connections, script)
    testbed.figures.timed(name, count * connections, testbed.watched, play_all)


def _row(load: Load, ours: Side, other: Side) -> Row:
    name = load.name
    value = ratio(ours.figures.rates[name], other.figures.rates[name])
    aim, met = ("", None) if load.aim is None else at_least(value, load.aim)
    commits = ours.commits[name]
    each = median(run.us / max(1, run.number) for run in commits) / 1000
    count = median(run.number for run in commits)
    remark = f"{count:,.0f} of {each:.2f} ms; {ours.figures.cost(name)}; in memory {other.figures.cost(name)}"
    return Row(name, ours.shown(name), other.shown(name), value, aim, met, remark)
