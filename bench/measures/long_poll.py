"""Long polls on one front: latency from a publish to the waiters, and their cost to other requests."""

from __future__ import annotations

import time
from statistics import median, quantiles

from bench.harness.measurement import Options, Row, Section, progress, round_order
from bench.harness.processes import BenchError
from bench.loads.client import Connection, Script, play, request
from bench.loads.scripts import publish_each
from bench.loads.testbed import CONNECTIONS, Testbed, subscription_path

WAITERS = 100
PARKED = 200
"""Waiters with one topic each while others publish."""
WAIT_S = 30
"""Seconds, the maximum of a front; longer than any turn."""
WAKES = {"on one topic, all woken": 20, "on its own topic, one woken": 200}
"""Publishes per turn, by case."""
PUBLISHES = 2000
"""Per connection and turn."""
PARK_TIMEOUT_S = 10.0
IDLE, BUSY = "none parked", "parked"
SIZE = 100

Times = dict[str, list[list[float]]]
"""Milliseconds by case, one list per round."""


class Waiting:
    """Connections that each wait for a message of one subscription."""

    def __init__(self, testbed: Testbed, topics: list[bytes], users: list[bytes]) -> None:
        self._testbed = testbed
        testbed.subscribe(sorted(set(topics)), sorted(set(users)))
        self.topics = topics
        self.connections = testbed.connect(len(topics))
        self._asks = [
            request("GET", b"%s?wait=%d" % (subscription_path(*names), WAIT_S))
            for names in zip(topics, users, strict=True)
        ]

    def park(self, number: int | None = None) -> None:
        """Send the request of one connection, or of all, and return when the broker knows all waiters."""
        for each in range(len(self._asks)) if number is None else (number,):
            self.connections[each].send(self._asks[each])
        ends = time.monotonic() + PARK_TIMEOUT_S
        while (count := self._testbed.broker.total("waiters")) != len(self._asks):
            if time.monotonic() > ends:
                raise BenchError(f"{count} requests wait in the broker, expected {len(self._asks)}")
            time.sleep(0.001)

    def release(self) -> None:
        """End all waits with one message each."""
        publisher = self._testbed.connections[0]
        for topic in sorted(set(self.topics)):
            play([publisher], [publish_each(topic, SIZE, 1)])
        play(self.connections, [_await_answer([]) for _ in self.connections])

    def close(self) -> None:
        for each in self.connections:
            each.close()


def measure(options: Options) -> Section:
    """Measure both kinds of wake-ups, then publishing with and without waiters, interleaved."""
    wakes: Times = {name: [] for name in WAKES}
    replies: Times = {name: [] for name in WAKES}
    with Testbed() as ours:
        for number in range(options.rounds):
            for name in round_order(WAKES, number):
                woken_ms, replied_ms = _wakes(ours, name, options.amount(WAKES[name]))
                wakes[name].append(woken_ms)
                replies[name].append(replied_ms)
            for name in round_order((IDLE, BUSY), number):
                _publishing(ours, name, options.amount(PUBLISHES))
            shown = ", ".join(f"{name} {median(each[-1]):.2f} ms" for name, each in wakes.items())
            progress(f"long polls, round {number + 1}/{options.rounds}: {shown}")
    section = Section("Long polls on one front", "the publisher's answer", "µs of CPU per publish")
    section.rows = [_wake_row(name, wakes[name], replies[name]) for name in WAKES]
    section.rows.append(_publish_row(ours))
    section.data = {"wake_ms": wakes, "reply_ms": replies} | ours.figures.raw()
    return section


def _wakes(ours: Testbed, name: str, publishes: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds from sending a publish until each waiter, and until the publisher, has its answer."""
    together = name == next(iter(WAKES))
    users = [b"u%d" % n for n in range(WAITERS)]
    waiting = (
        Waiting(ours, [b"all"] * WAITERS, users)
        if together
        else Waiting(ours, [b"own%d" % n for n in range(WAITERS)], users[:1] * WAITERS)
    )
    woken_ms: list[float] = []
    replied_ms: list[float] = []
    waiting.park()
    for number in range(publishes):
        woken = number % WAITERS
        who = waiting.connections if together else waiting.connections[woken : woken + 1]
        _wake(who, ours.connections[0], waiting.topics[woken], woken_ms, replied_ms)
        waiting.park(None if together else woken)
    waiting.release()
    waiting.close()
    return woken_ms, replied_ms


def _wake(
    who: list[Connection], publisher: Connection, topic: bytes, woken_ms: list[float], replied_ms: list[float]
) -> None:
    """Publish once to the waiters `who`, and record the latencies."""
    times: list[float] = []
    sent = answered = 0.0

    def publish() -> Script:
        nonlocal sent, answered
        sent = time.perf_counter()
        yield from publish_each(topic, SIZE, 1)
        answered = time.perf_counter()

    play([*who, publisher], [*(_await_answer(times) for _ in who), publish()])
    woken_ms += [(each - sent) * 1000 for each in times]
    replied_ms.append((answered - sent) * 1000)


def _await_answer(times: list[float]) -> Script:
    """Await the answer of a request that was sent already."""
    answer = yield b""
    times.append(time.perf_counter())
    if answer.status != 200 or len(answer.body) != SIZE:
        raise BenchError(f"a waiter got status {answer.status} with {len(answer.body)} bytes")


def _publishing(ours: Testbed, name: str, publishes: int) -> None:
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


def _publish_row(ours: Testbed) -> Row:
    figures = ours.figures
    shown = [f"{figures.rate(kind):,.0f}/s" for kind in (BUSY, IDLE)]
    cost = f"{figures.cost(BUSY)}; {IDLE} {figures.cost(IDLE)}"
    against = f"{IDLE} {shown[1]}"
    return Row(f"publishes while {PARKED} wait", shown[0], against, figures.ratio(BUSY, IDLE), remark=cost)


def _shown(rounds: list[list[float]]) -> str:
    p50 = median(median(each) for each in rounds)
    p99 = median(quantiles(each, n=100, method="inclusive")[98] for each in rounds)
    return f"{p50:.2f}/{p99:.2f} ms"
