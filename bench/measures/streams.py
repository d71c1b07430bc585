"""Streams on one front: what an idle one costs, how soon a message arrives, and fan-out to many of one topic."""

from __future__ import annotations

import random
import resource
import time
from statistics import median, quantiles

from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import BROKER_FLAGS, Cluster, Process
from bench.loads.broker_client import NOTHING, ClusterClient
from bench.loads.client import Connection, HttpConnection, play
from bench.loads.scripts import publish_each
from bench.loads.streams import Streams
from common.process.descriptors import raise_limit
from common.protocol.ops import Op

STREAMS = 10_000
"""Idle streams, each of a topic of its own; fewer where the limit of open files allows no more."""
OTHER_FILES = 200
OF_ONE_TOPIC = 1000
"""Streams of one topic, each of a user of its own."""
IDLE_S = 40
"""Longer than the silence after which a comment is sent."""
PUBLISHES, FANNED_OUT = 500, 20
SIZE = 100
KIB = 1024


def measure(options: Options) -> Section:
    """Measure idle streams, then messages to single ones of them, then to all streams of one topic."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = raise_limit(2 * STREAMS + 2000 if hard == resource.RLIM_INFINITY else hard)
    count = min(options.amount(STREAMS), limit // 2 - OTHER_FILES)
    section = Section("Streams on one front", "aim", "µs of CPU per event")
    flags = (f"--connections={count + 50}", f"--max-streams={count}")
    with Cluster(1, 1, broker_flags=BROKER_FLAGS, front_flags=flags) as cluster, ClusterClient(cluster.map) as broker:
        topics = [b"t%d" % number for number in range(count)]
        broker.run((Op.SUBSCRIBE, topic, b"u", NOTHING) for topic in topics)
        front, publisher = cluster.fronts[0], HttpConnection(cluster.ports[0])
        before = front.rss()
        with Streams(cluster.ports[0], [b"/%s/u?confirm=client" % topic for topic in topics]) as streams:
            section.rows += _idle(front, cluster.brokers[0], count, before, options)
            section.rows.append(_single(streams, publisher, topics, options))
    with Cluster(1, 1, broker_flags=BROKER_FLAGS) as cluster, ClusterClient(cluster.map) as broker:
        section.rows.append(_fanned_out(cluster, broker, options))
    return section


def _idle(front: Process, broker: Process, count: int, before: int, options: Options) -> list[Row]:
    grown = front.rss() - before
    seconds = 20 if options.quick else IDLE_S
    began = front.cpu(), broker.cpu()
    time.sleep(seconds)
    used = [(cpu - start) / seconds * 100 for cpu, start in zip((front.cpu(), broker.cpu()), began, strict=True)]
    progress(f"streams: {count} idle, {grown / count / KIB:.1f} KiB each, {used[0]:.1f} % of a core")
    each = grown / count / KIB
    memory = Row(f"memory of one of {count} idle streams", f"{each:.1f} KiB", "", None, *at_most(each, 6))
    cpu = Row("CPU time of the front meanwhile", f"{used[0]:.1f} %", "", None, *at_most(used[0], 15))
    return [memory, cpu, Row("CPU time of the broker meanwhile", f"{used[1]:.1f} %", "")]


def _single(streams: Streams, publisher: Connection, topics: list[bytes], options: Options) -> Row:
    rng = random.Random(1)
    waited = []
    for _ in range(options.amount(PUBLISHES)):
        number = rng.randrange(len(topics))
        sent = time.perf_counter()
        play([publisher], [publish_each(topics[number], SIZE, 1)])
        ((woken, at),) = streams.events(1)
        assert woken == number
        waited.append((at - sent) * 1000)
    p99 = _p99(waited)
    return Row("a message to one of them: p50/p99", f"{median(waited):.2f}/{p99:.2f} ms", "", None, *at_most(p99, 50))


def _fanned_out(cluster: Cluster, broker: ClusterClient, options: Options) -> Row:
    count = options.amount(OF_ONE_TOPIC)
    users = [b"u%d" % number for number in range(count)]
    broker.run((Op.SUBSCRIBE, b"t", user, NOTHING) for user in users)
    publisher, front = HttpConnection(cluster.ports[0]), cluster.fronts[0]
    waited, last = [], []
    with Streams(cluster.ports[0], [b"/t/%s?confirm=client" % user for user in users]) as streams:
        began = front.cpu()
        for _ in range(FANNED_OUT):
            sent = time.perf_counter()
            play([publisher], [publish_each(b"t", SIZE, 1)])
            times = [(at - sent) * 1000 for _, at in streams.events(count)]
            waited += times
            last.append(max(times))
        cost = (front.cpu() - began) / len(waited) * 1e6
    shown = f"{median(waited):.1f}/{_p99(waited):.1f} ms"
    name = f"a message to {count} streams of its topic: p50/p99"
    return Row(name, shown, f"last {median(last):.1f} ms", remark=f"front {cost:.0f}")


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
