"""The durable store beside memory: the same loads on a front and a broker each, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

from bench.harness.disk import data_folder, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_least, ratio, say, turns
from bench.loads.client import Script, play
from bench.loads.scripts import fetch_batches, get_after, make_batch, publish_batches
from bench.loads.station import Station, mailbox
from bench.loads.wrk import Run
from bench.measures.http import BROKER_FLAGS, GET, POST, Case, Contender, checked, emptied, expected, filled

MEMORY, DURABLE = "memory", "durable"
SINGLE_AIM, BATCH_AIM = 0.6, 0.8
"""Of memory: single publishes with 32 connections, and batches."""
BATCH = make_batch(1000, 100)
FEW, MANY = 4, 32
"""Connections with batches, each with a topic of its own: more of them share a commit."""
BATCHES = 2000
"""Of all connections together in one round."""
AFTER_BATCHES = 2
"""The mailboxes that are read one by one are filled with so many each."""


class Load(NamedTuple):
    """One kind of load."""

    name: str
    prepare: Callable[[Station], None]
    run: Callable[[Station], Run | None]
    """Notes its figures with the station under the name of the load."""
    aim: float | None = None


class Commits(NamedTuple):
    """What the store of a broker did in one run."""

    number: int
    us: int
    """Microseconds of all of them."""


class Side:
    """One of the two: its servers, and what they came to."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.figures = station.figures
        self.commits: dict[str, list[Commits]] = {}
        self.latencies: dict[str, list[tuple[float, float]]] = {}
        """Milliseconds, p50 and p99, where wrk was the load."""

    def turn(self, load: Load) -> None:
        """One run."""
        load.prepare(self.station)
        before = self._commits()
        run = load.run(self.station)
        after = self._commits()
        self.commits.setdefault(load.name, []).append(Commits(after.number - before.number, after.us - before.us))
        if run is not None:
            self.latencies.setdefault(load.name, []).append((run.p50, run.p99))

    def forget(self) -> None:
        """What was noted is of a warming."""
        self.figures.forget()
        self.commits.clear()
        self.latencies.clear()

    def shown(self, name: str) -> str:
        """Rate, and latencies where they are known."""
        rate = f"{self.figures.rate(name):,.0f}/s"
        if name not in self.latencies:
            return rate
        p50, p99 = (median(each) for each in zip(*self.latencies[name], strict=True))
        return f"{rate} {p50:.1f}/{p99:.1f}"

    def _commits(self) -> Commits:
        total = self.station.broker.total
        return Commits(total("commits"), total("commit_us"))


def measure(options: Options) -> Section:
    """Each load on both in every round, the other one first each time."""
    loads = _loads(options)
    with data_folder() as data, Station(MANY) as memory, Station(MANY, (*BROKER_FLAGS, *sqlite_flags(data))) as disk:
        sides = {MEMORY: Side(memory), DURABLE: Side(disk)}
        for load in _loads(replace(options, seconds=1, quick=True)):  # warm
            for side in sides.values():
                side.turn(load)
        for side in sides.values():
            side.forget()
        for number in range(options.rounds):
            for load in loads:
                for name in turns(sides, number):
                    sides[name].turn(load)
                rates = {name: side.figures.rates[load.name][-1] for name, side in sides.items()}
                share = rates[DURABLE] / rates[MEMORY]
                say(f"durable, round {number + 1}/{options.rounds}: {load.name} {rates[DURABLE]:,.0f}, {share:.2f}")
    title = "Durable store, one front, one broker, by connections: messages a second, p50/p99 ms"
    section = Section(title, "in memory", "commits of the store; µs of cpu a message")
    section.rows = [_row(load, sides[DURABLE], sides[MEMORY]) for load in loads]
    for name, side in sides.items():
        section.data[name] = {**side.figures.raw(), "commits": side.commits, "latencies": side.latencies}
    section.data["aims"] = {load.name: load.aim for load in loads}
    return section


def _loads(options: Options) -> list[Load]:
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

    def prepare(station: Station) -> None:
        emptied(station.broker, GET.load.topics)
        if case is GET:
            filled(station.broker, expected(options.seconds, 1))

    def run(station: Station) -> Run:
        watched = {process: [each] for process, each in station.watched.items()}
        contender = Contender(station.ports, watched, station.broker)
        came = checked(case, contender, station.broker, options.seconds, connections)
        station.figures.note(name, came.rate, came.cpu)
        return came

    return Load(name, prepare, run, aim)


def _after(connections: int, batches: int) -> Load:
    name, count = f"GET after, {connections}", batches * BATCH.messages

    def run(station: Station) -> None:
        _timed(station, connections, name, count, lambda topic: get_after(mailbox(topic), BATCH.size, count))

    return Load(name, lambda station: _fill(station, connections, batches), run)


def _publish_batches(connections: int, batches: int) -> Load:
    name, count = f"publish {BATCH.messages:,} x {BATCH.size} bytes, {connections}", batches * BATCH.messages

    def run(station: Station) -> None:
        _timed(station, connections, name, count, lambda topic: publish_batches(topic, BATCH, batches))

    return Load(name, _clear, run, BATCH_AIM)


def _fetch_batches(connections: int, batches: int) -> Load:
    name, count = f"fetch {BATCH.messages:,} x {BATCH.size} bytes, {connections}", batches * BATCH.messages

    def run(station: Station) -> None:
        _timed(station, connections, name, count, lambda topic: fetch_batches(mailbox(topic), BATCH, batches))

    return Load(name, lambda station: _fill(station, connections, batches), run, BATCH_AIM)


def _clear(station: Station) -> None:
    station.reconnect()
    station.subscribe(station.topics)


def _fill(station: Station, connections: int, batches: int) -> None:
    _clear(station)
    _play(station, connections, lambda topic: publish_batches(topic, BATCH, batches))


def _play(station: Station, connections: int, script: Callable[[bytes], Script]) -> float:
    """The script on the first so many connections, made for the topic of each; seconds."""
    return play(station.connections[:connections], map(script, station.topics[:connections]))


def _timed(station: Station, connections: int, name: str, count: int, script: Callable[[bytes], Script]) -> None:
    """As `_play`, and noted as so many messages of each connection."""
    play_all = partial(_play, station, connections, script)
    station.figures.timed(name, count * connections, station.watched, play_all)


def _row(load: Load, ours: Side, other: Side) -> Row:
    name = load.name
    value = ratio(ours.figures.rates[name], other.figures.rates[name])
    aim, met = ("", None) if load.aim is None else at_least(value, load.aim)
    commits = ours.commits[name]
    each = median(run.us / max(1, run.number) for run in commits) / 1000
    count = median(run.number for run in commits)
    remark = f"{count:,.0f} of {each:.2f} ms; {ours.figures.cost(name)}; in memory {other.figures.cost(name)}"
    return Row(name, ours.shown(name), other.shown(name), value, aim, met, remark)
