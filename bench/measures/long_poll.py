"""Long polls on one front: how soon a publish reaches those who wait, and what they cost the others."""

from __future__ import annotations

import time
from statistics import median, quantiles

from bench.harness.measurement import Options, Row, Section, say, turns
from bench.harness.processes import BenchError
from bench.loads.client import Connection, Script, play, request
from bench.loads.scripts import publish_each
from bench.loads.station import CONNECTIONS, Station, mailbox

WAITERS = 100
PARKED = 200
"""Who wait on topics of their own while others publish."""
WAIT = 30
"""Seconds, the longest that a front allows; no turn takes so long."""
WAKES = {"of one topic, all woken": 20, "of own topics, one woken": 200}
"""Publishes of a turn, by what they are followed by."""
PUBLISHES = 2000
"""Of each connection in one turn."""
PARK_SECONDS = 10.0
QUIET, BUSY = "none parked", "parked"
SIZE = 100

Times = dict[str, list[list[float]]]
"""Milliseconds by the name of the measurement, a list for each round."""


class Waiting:
    """Connections of which each waits for a message of its own mailbox."""

    def __init__(self, station: Station, topics: list[bytes], users: list[bytes]) -> None:
        self._station = station
        station.subscribe(sorted(set(topics)), sorted(set(users)))
        self.topics = topics
        self.connections = station.connect(len(topics))
        self._asks = [
            request("GET", b"%s?wait=%d" % (mailbox(*names), WAIT)) for names in zip(topics, users, strict=True)
        ]

    def park(self, number: int | None = None) -> None:
        """Asks on one connection, or on all, and returns when all are known to wait."""
        for each in range(len(self._asks)) if number is None else (number,):
            self.connections[each].send(self._asks[each])
        ends = time.monotonic() + PARK_SECONDS
        while (count := self._station.broker.total("waiters")) != len(self._asks):
            if time.monotonic() > ends:
                raise BenchError(f"{count} requests wait in the broker, {len(self._asks)} were expected")
            time.sleep(0.001)

    def release(self) -> None:
        """Ends all waits with a message each."""
        publisher = self._station.connections[0]
        for topic in sorted(set(self.topics)):
            play([publisher], [publish_each(topic, SIZE, 1)])
        play(self.connections, [_hear([]) for _ in self.connections])

    def close(self) -> None:
        for each in self.connections:
            each.close()


def measure(options: Options) -> Section:
    """Wake-ups of both kinds, then publishing beside those who wait and alone, in turns."""
    wakes: Times = {name: [] for name in WAKES}
    replies: Times = {name: [] for name in WAKES}
    with Station() as ours:
        for number in range(options.rounds):
            for name in turns(WAKES, number):
                heard, replied = _wakes(ours, name, options.amount(WAKES[name]))
                wakes[name].append(heard)
                replies[name].append(replied)
            for name in turns((QUIET, BUSY), number):
                _publishing(ours, name, options.amount(PUBLISHES))
            shown = ", ".join(f"{name} {median(each[-1]):.2f} ms" for name, each in wakes.items())
            say(f"long polls, round {number + 1}/{options.rounds}: {shown}")
    section = Section("Long polls on one front", "the publish's own answer", "µs of cpu a publish")
    section.rows = [_wake_row(name, wakes[name], replies[name]) for name in WAKES]
    section.rows.append(_publish_row(ours))
    section.data = {"wake_ms": wakes, "reply_ms": replies} | ours.figures.raw()
    return section


def _wakes(ours: Station, name: str, publishes: int) -> tuple[list[float], list[float]]:
    """Milliseconds from sending a publish until a waiter has its answer, and until the publisher has."""
    together = name == next(iter(WAKES))
    users = [b"u%d" % n for n in range(WAITERS)]
    waiting = (
        Waiting(ours, [b"all"] * WAITERS, users)
        if together
        else Waiting(ours, [b"own%d" % n for n in range(WAITERS)], users[:1] * WAITERS)
    )
    heard: list[float] = []
    replied: list[float] = []
    waiting.park()
    for number in range(publishes):
        woken = number % WAITERS
        who = waiting.connections if together else waiting.connections[woken : woken + 1]
        _wake(who, ours.connections[0], waiting.topics[woken], heard, replied)
        waiting.park(None if together else woken)
    waiting.release()
    waiting.close()
    return heard, replied


def _wake(who: list[Connection], publisher: Connection, topic: bytes, heard: list[float], replied: list[float]) -> None:
    """One publish that `who` are parked for."""
    times: list[float] = []
    sent = answered = 0.0

    def publish() -> Script:
        nonlocal sent, answered
        sent = time.perf_counter()
        yield from publish_each(topic, SIZE, 1)
        answered = time.perf_counter()

    play([*who, publisher], [*(_hear(times) for _ in who), publish()])
    heard += [(each - sent) * 1000 for each in times]
    replied.append((answered - sent) * 1000)


def _hear(times: list[float]) -> Script:
    """The answer of a request that has been sent already."""
    answer = yield b""
    times.append(time.perf_counter())
    if answer.status != 200 or len(answer.body) != SIZE:
        raise BenchError(f"a waiter was answered {answer.status} with {len(answer.body)} bytes")


def _publishing(ours: Station, name: str, publishes: int) -> None:
    waiting = Waiting(ours, [b"own%d" % n for n in range(PARKED)], [b"u"] * PARKED) if name == BUSY else None
    ours.subscribe(ours.topics)
    if waiting:
        waiting.park()
    ours.timed(name, publishes * CONNECTIONS, lambda topic: publish_each(topic, SIZE, publishes))
    if waiting:
        waiting.release()
        waiting.close()


def _wake_row(name: str, wakes: list[list[float]], replies: list[list[float]]) -> Row:
    return Row(f"{WAITERS} wait, each {name}: p50/p99", _shown(wakes), _shown(replies))


def _publish_row(ours: Station) -> Row:
    figures = ours.figures
    shown = [f"{figures.rate(kind):,.0f}/s" for kind in (BUSY, QUIET)]
    cost = f"{figures.cost(BUSY)}; {QUIET} {figures.cost(QUIET)}"
    against = f"{QUIET} {shown[1]}"
    return Row(f"publishes while {PARKED} wait", shown[0], against, figures.ratio(BUSY, QUIET), remark=cost)


def _shown(rounds: list[list[float]]) -> str:
    p50 = median(median(each) for each in rounds)
    p99 = median(quantiles(each, n=100, method="inclusive")[98] for each in rounds)
    return f"{p50:.2f}/{p99:.2f} ms"
