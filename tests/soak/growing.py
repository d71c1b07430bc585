"""Figures of moves: the pause of publishing to one topic, and a cluster of 4 that grows and shrinks under load."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bench.loads.broker_client import BrokerClient
from broker.tools.slot_links import Links
from broker.tools.slot_mover import SlotMover
from common.cluster.description import describe_local, load_cluster
from common.cluster.slot_plan import PlannedMove
from common.cluster.slots import slot_of
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.stats import FROZEN_US
from tests.e2e.cluster import ROOT, Client, Cluster, clean_environ, wait_for
from tests.soak.figures import percentile

MOVES = 20
PUBLISHERS = 8
AT_ONCE, AT_ONCE_BYTES = 4096, 16_000_000
"""Publishes under way with which the topic is filled, and their bytes."""
FIGURES = (
    "longest publish to it during a move",
    "frozen",
    "the whole move",
    "publishes to another topic during moves",
    "the same between moves",
)
SETTINGS = {"memory": "8GiB", "max_messages": 10**7, "max_bytes": "4GiB"}


def measure_pauses(size: int, message: int, moves: int = MOVES) -> list[str]:
    """Return p50 and p99 of the longest pause of a publisher while the slot of its topic moves, and of the freeze.

    In the topic are `size` bytes of messages of `message` bytes each. Another publisher has a topic of the same broker:
    all of its calls are told, while a slot moves and while none does.
    """
    cluster = Cluster(brokers=2, fronts=1, durable=True, front_settings={"access_log": "off"}, broker_settings=SETTINGS)
    try:
        topic, other = cluster.topic("b0", "paused"), cluster.topic("b0", "other")
        for each in (topic, other):
            cluster.fronts[0].web.subscribe(each, "ann")
        _fill(cluster, topic, size, message)
        publisher, beside = (Publisher(cluster.fronts[0].port, each) for each in (topic, other))
        figures: list[list[float]] = [[] for _ in FIGURES]
        pauses, frozen, took, besides, usual = figures
        with Links(cluster.map, None) as links, publisher, beside:
            for number in range(moves):
                source, to = ("b0", "b1") if number % 2 == 0 else ("b1", "b0")
                beside.reset()
                publisher.await_more(50)
                usual += beside.reset()
                publisher.reset()
                before = cluster.stats(source).get(FROZEN_US, 0)
                took.append(SlotMover(links).move(PlannedMove(slot_of(topic.encode()), source, to)).seconds)
                besides += beside.reset()
                publisher.await_more(5)
                pauses.append(max(publisher.reset()))
                frozen.append((cluster.stats(source).get(FROZEN_US, 0) - before) / 1e6)
                _await_nothing_left(cluster, source)
        assert not publisher.errors + beside.errors, publisher.errors + beside.errors
    finally:
        cluster.close()
    lines = [f"{moves} moves of a slot with {size:,} bytes in messages of {message:,}"]
    for name, values in zip(FIGURES, figures, strict=True):
        lines.append(f"{name}: " + ", ".join(f"p{n} {1000 * percentile(values, n):.0f} ms" for n in (50, 99)))
    return lines


def _fill(cluster: Cluster, topic: str, size: int, message: int) -> None:
    """Publish at the broker, which takes more of it than a front."""
    body = b"x" * message
    publish = (Op.PUBLISH, topic.encode(), b"", ops.Publish(b"", body))
    with BrokerClient(cluster.map, cluster.map.address("b0")) as client:
        left = -(-size // message)
        while left:
            count = max(1, min(left, AT_ONCE, AT_ONCE_BYTES // message))
            client.exchange(client.frames([publish] * count, min(wire.MAX_REQUESTS, max(1, 10**6 // message))))
            left -= count


def _await_nothing_left(cluster: Cluster, broker: str) -> None:
    """Wait until nothing is left of a slot where it was."""
    wait_for(lambda: cluster.stats(broker)["topics"] < 2, "the rest of the slot to be removed")


def measure_growth() -> list[str]:
    """Return the throughput of publishers while a cluster of 4 becomes one of 5, and of 4 again; errors are told."""
    cluster = Cluster(brokers=4, fronts=2, durable=True, front_settings={"access_log": "off"})
    topics = [f"grow-{n}" for n in range(64)]
    try:
        for topic in topics:
            cluster.fronts[0].web.subscribe(topic, "ann")
        publishers = [
            Publisher(cluster.fronts[n % 2].port, *topics[n::PUBLISHERS], reads=True) for n in range(PUBLISHERS)
        ]
        cluster.description.write_text(describe_local(5, cluster.run_dir, epoch=2))
        cluster.map = load_cluster(cluster.description)
        cluster.start_broker("b4")
        for each in publishers:
            each.__enter__()
        cluster.await_ready()
        lines = []
        rate = _rate(publishers, lambda: time.sleep(5))
        for flags in (["--add", "b4"], ["--drain", "b4"]):
            during = _rate(publishers, lambda flags=flags: lines.append(_tool(cluster, *flags)))
            lines.append(
                f"{' '.join(flags)}: {during:,.0f} calls per second, {during / rate:.2f} of {rate:,.0f} before"
            )
        for each in publishers:
            each.__exit__()
        errors = [error for each in publishers for error in each.errors]
        lines.append(f"answers that were no success: {len(errors)} {errors[:3]}")
    finally:
        cluster.close()
    return lines


def _tool(cluster: Cluster, *flags: str) -> str:
    command = [sys.executable, "-m", "broker.tools.rebalance", "run", *flags, f"--run-dir={cluster.run_dir}"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def _rate(publishers: list[Publisher], work: Callable[[], object]) -> float:
    began, before = time.monotonic(), sum(each.done for each in publishers)
    work()
    return (sum(each.done for each in publishers) - before) / (time.monotonic() - began)


class Publisher:
    """Publishes to its topics by turns, and reads with `reads`; notes how long each call takes, and every error."""

    def __init__(self, port: int, *topics: str, reads: bool = False) -> None:
        self._port, self._topics, self._reads = port, topics, reads
        self.done = 0
        self._took: list[float] = []
        """Seconds of each call."""
        self.errors: list[str] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def reset(self) -> list[float]:
        """Return how long each call since the last one of these took."""
        took, self._took = self._took, []
        return took

    def await_more(self, calls: int) -> None:
        """Wait until `calls` more calls have ended."""
        wanted = self.done + calls
        wait_for(lambda: self.done >= wanted, "more calls")

    def _run(self) -> None:
        client = Client(self._port)
        while not self._ending.is_set():
            for topic in self._topics:
                began = time.monotonic()
                answer = client.publish(topic, b"y" * 100)
                self._took.append(time.monotonic() - began)
                if self._reads and answer.status == 200:
                    answer = client.take(topic, "ann")
                if answer.status not in (200, 204):
                    self.errors.append(f"{answer.status} {answer.body.decode()[:120]}")
                self.done += 1
        client.close()
