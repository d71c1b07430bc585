"""WebSocket sessions on one front: publishes beside HTTP, deliveries, idle ones, and quiet ones beside a greedy one."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from statistics import median, quantiles

from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import BROKER_FLAGS, Cluster
from bench.loads.broker_client import NOTHING, ClusterClient
from bench.loads.client import play
from bench.loads.scripts import publish_each
from bench.loads.sessions import Session, all_receipts, each_receipt, frame, no_acknowledgement, up_to_the_last
from bench.loads.testbed import USER, Testbed
from common.process.descriptors import raise_limit
from common.protocol import ops
from common.protocol.ops import Op

IN_FLIGHT = {1: 4000, 32: 40_000, 1000: 100_000}
"""Publishes by the number under way."""
DELIVERED = 100_000
SIZE = 100
IDLE = 10_000
"""Idle sessions; fewer where the limit of open files allows no more."""
OTHER_FILES = 200
QUIET, QUIET_OPERATIONS = 10, 200
IDLE_S = 45
"""Two pings."""
ALONE_S = 1.5
"""After others have asked for nothing for so long, a front gives a session all that one may have under way."""
KIB = 1024
TOPIC = b"t0"
READS = {
    "after": ("mode=after&window=1000", up_to_the_last),
    "lease": ("mode=lease&window=1000&lease=600", each_receipt),
    "lease, acknowledged together": ("mode=lease&window=1000&lease=600", all_receipts),
    "take": ("mode=take&window=1000", no_acknowledgement),
}
_PUBLISH = frame({"op": "publish", "topic": "t0", "text": "x" * SIZE, "ref": 1})


def measure(options: Options) -> Section:
    """Measure all of it."""
    section = Section("WebSocket sessions on one front", "HTTP, or aim", "µs of CPU per message")
    with Testbed(1) as testbed:
        for in_flight in IN_FLIGHT:
            section.rows.append(_publishes(testbed, in_flight, options))
        for mode in READS:
            section.rows += [_deliveries(testbed, mode, options, together=together) for together in (False, True)]
        section.rows.append(_beside_a_greedy_one(testbed, options))
        section.data = testbed.figures.raw()
    section.rows += _idle(options)
    return section


def _publishes(testbed: Testbed, in_flight: int, options: Options) -> Row:
    """Compare one session with `in_flight` publishes in flight with as many HTTP connections with one each."""
    times = options.amount(IN_FLIGHT[in_flight])
    ours, theirs, figures = f"publish {in_flight}", f"publish HTTP {in_flight}", testbed.figures
    connections = testbed.connect(in_flight)
    topics = [b"h%d" % number for number in range(in_flight)]
    each = max(times // in_flight // 4, 1)
    with Session(testbed.ports[0]) as session:
        for number in range(options.rounds + 1):
            for kind, count, load in (
                (ours, times, lambda: _timed(lambda: session.exchange(_PUBLISH, times, in_flight))),
                (theirs, each * in_flight, lambda: play(connections, [publish_each(t, SIZE, each) for t in topics])),
            ):
                testbed.subscribe([TOPIC, *topics])
                time.sleep(ALONE_S)
                figures.timed(kind, count, testbed.watched, load)
            if not number:
                figures.clear()
    for connection in connections:
        connection.close()
    cost = median(figures.cpu[ours]["front"])
    return Row(
        f"publishes of {SIZE} bytes, {in_flight} under way",
        f"{figures.rate(ours):,.0f}/s",
        f"{figures.rate(theirs):,.0f}/s",
        figures.ratio(ours, theirs),
        *at_most(cost, 20),
        f"{figures.cost(ours)}; HTTP {figures.cost(theirs)}",
    )


def _deliveries(testbed: Testbed, mode: str, options: Options, *, together: bool) -> Row:
    """Messages that wait already, to one reader that acknowledges them.

    Each was published alone, or many `together`: a broker keeps what a session has published so as batches.
    """
    count = options.amount(DELIVERED)
    query, acknowledge = READS[mode]
    name = f"deliveries of {SIZE} bytes, mode {mode}, published {'together' if together else 'alone'}"
    kind, figures = f"deliver {mode}{' together' if together else ''}", testbed.figures
    target = f"/{TOPIC.decode()}/{USER.decode()}?{query}"

    def load() -> float:
        with Session(testbed.ports[0], target) as session:
            return _timed(lambda: session.read(count, acknowledge))

    for _ in range(options.rounds):
        testbed.subscribe([TOPIC])
        if together:
            with Session(testbed.ports[0]) as session:
                session.exchange(_PUBLISH, count, 1000)
        else:
            testbed.broker.run((Op.PUBLISH, TOPIC, b"", ops.Publish(b"", b"x" * SIZE)) for _ in range(count))
        time.sleep(ALONE_S)
        figures.timed(kind, count, testbed.watched, load)
    cost = median(figures.cpu[kind]["front"])
    return Row(name, f"{figures.rate(kind):,.0f}/s", "", None, *at_most(cost, 10), figures.cost(kind))


def _beside_a_greedy_one(testbed: Testbed, options: Options) -> Row:
    """Time operations of quiet sessions, alone and while another session has a thousand publishes under way."""
    testbed.subscribe([TOPIC])
    times = options.amount(QUIET_OPERATIONS)
    alone = _p99(_waited(testbed.ports[0], times))
    greedy = get_context("fork").Process(target=_publish_without_end, args=(testbed.ports[0],), daemon=True)
    greedy.start()
    try:
        beside = _p99(_waited(testbed.ports[0], times))
    finally:
        greedy.kill()
        greedy.join()
    shown = f"{beside:.2f} ms"
    return Row(
        "p99 of quiet sessions beside a greedy one",
        shown,
        f"alone {alone:.2f} ms",
        beside / alone,
        *at_most(beside / alone, 2),
    )


def _publish_without_end(port: int) -> None:
    with Session(port) as session:
        while True:
            session.exchange(_PUBLISH, 5000, 1000)


def _waited(port: int, times: int) -> list[float]:
    sessions = [Session(port) for _ in range(QUIET)]
    operation = frame({"op": "publish", "topic": "quiet", "text": "x", "ref": 1})
    waited = []
    for session in sessions * times:
        began = time.perf_counter()
        session.exchange(operation, 1, 1)
        waited.append((time.perf_counter() - began) * 1000)
    for session in sessions:
        session.close()
    return waited


def _idle(options: Options) -> list[Row]:
    """Sessions that read nothing, and sessions that read one mailbox each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = raise_limit(2 * IDLE + 2000 if hard == resource.RLIM_INFINITY else hard)
    count = min(options.amount(IDLE), limit // 2 - OTHER_FILES)
    return [
        _idle_row("without a read", ["/"] * count, options),
        _idle_row("with a read", [f"/t{number}/{USER.decode()}" for number in range(count)], options),
    ]


def _idle_row(what: str, targets: list[str], options: Options) -> Row:
    count = len(targets)
    flags = (f"--connections={count + 50}", f"--max-streams={count}")
    with Cluster(1, 1, broker_flags=BROKER_FLAGS, front_flags=flags) as cluster, ClusterClient(cluster.map) as broker:
        broker.run((Op.SUBSCRIBE, b"t%d" % number, USER, NOTHING) for number in range(count))
        front = cluster.fronts[0]
        before = front.rss()
        sessions = [Session(cluster.ports[0], target) for target in targets]
        each = (front.rss() - before) / count / KIB
        began, seconds = front.cpu(), 10 if options.quick else IDLE_S
        time.sleep(seconds)
        used = (front.cpu() - began) / seconds * 100
        for session in sessions:
            session.close()
    progress(f"sessions: {count} idle {what}, {each:.1f} KiB each, {used:.1f} % of a core")
    name = f"memory of one of {count} idle sessions {what}"
    return Row(name, f"{each:.1f} KiB", "", None, *at_most(each, 8), f"front {used:.1f} % of a core")


def _timed(load: Callable[[], object]) -> float:
    began = time.perf_counter()
    load()
    return time.perf_counter() - began


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
