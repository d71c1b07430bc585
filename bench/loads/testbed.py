"""One front and one broker under scripted load, and the figures of each load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import Any, Self

from bench.harness.measurement import ratio
from bench.harness.processes import BROKER_FLAGS, Cluster, Process
from bench.harness.replicated import ReplicatedCluster
from bench.loads.broker_client import NOTHING, ClusterClient
from bench.loads.client import Connection, HttpConnection, Script, play
from common.protocol.ops import Op

CONNECTIONS = 4
"""The default number; each connection has its own topic."""
USER = b"u"


class Figures:
    """One figure per kind of load and round."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = {}
        """Messages per second."""
        self.cpu: dict[str, dict[str, list[float]]] = {}
        """Microseconds of CPU time per message, by the name of the server process, and of the load itself."""

    def timed(self, kind: str, messages: int, watched: Mapping[str, Process], load: Callable[[], float]) -> None:
        """Run a load, which returns its seconds, and record its figures."""
        clocks: dict[str, Callable[[], float]] = {name: process.cpu for name, process in watched.items()}
        clocks["load"] = time.process_time
        before = {name: clock() for name, clock in clocks.items()}
        rate = messages / load()
        self.note(kind, rate, {name: (clock() - before[name]) / messages * 1e6 for name, clock in clocks.items()})

    def note(self, kind: str, rate: float, cpu: Mapping[str, float]) -> None:
        """Record one round of a load that was timed elsewhere."""
        self.rates.setdefault(kind, []).append(rate)
        costs = self.cpu.setdefault(kind, {})
        for name, cost in cpu.items():
            costs.setdefault(name, []).append(cost)

    def clear(self) -> None:
        """Discard the figures of the warm-up."""
        self.rates.clear()
        self.cpu.clear()

    def rate(self, kind: str) -> float:
        """Return the median rate over the rounds."""
        return median(self.rates[kind])

    def ratio(self, kind: str, other: str) -> float:
        """Return the median of the per-round ratios of two rates."""
        return ratio(self.rates[kind], self.rates[other])

    def cost(self, *kinds: str) -> str:
        """Return the CPU time per message as text for the table."""
        return ", ".join(f"{name} {median(each):.3g}" for kind in kinds for name, each in self.cpu[kind].items())

    def raw(self) -> dict[str, Any]:
        """Return the raw figures for `results.json`."""
        return {"rates": self.rates, "cpu": self.cpu}


class Testbed:
    """One front, one broker and persistent connections to the front. A context manager."""

    def __init__(
        self,
        connections: int = CONNECTIONS,
        broker_flags: tuple[str, ...] = BROKER_FLAGS,
        cluster: Cluster | ReplicatedCluster | None = None,
    ) -> None:
        """Start a cluster with these flags, or use one, which is closed with this."""
        self.figures = Figures()
        with ExitStack() as stack:
            self._cluster = cluster or Cluster(1, 1, broker_flags=broker_flags)
            stack.enter_context(self._cluster)
            self.broker = stack.enter_context(ClusterClient(self._cluster.map))
            self.connections: list[Connection] = [self._connect(stack) for _ in range(connections)]
            self._stack = stack.pop_all()
        self.watched = self._cluster.watched
        self.ports = self._cluster.ports
        self.topics = [b"t%d" % n for n in range(connections)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def connect(self, count: int) -> list[Connection]:
        """Open `count` more connections; they are closed with the others."""
        return [self._connect(self._stack) for _ in range(count)]

    def reconnect(self) -> None:
        """Reopen the connections: a front closes idle ones."""
        for each in self.connections:
            each.close()
        self.connections = self.connect(len(self.connections))

    def subscribe(self, topics: Sequence[bytes], users: Sequence[bytes] = (USER,)) -> None:
        """Recreate every topic with these users and no messages."""
        for op in (Op.SUBSCRIBE, Op.UNSUBSCRIBE, Op.SUBSCRIBE):
            self.broker.run((op, topic, user, NOTHING) for topic in topics for user in users)

    def play(self, script: Callable[[bytes], Script]) -> float:
        """Run one script per connection, made for its topic; return the seconds."""
        return play(self.connections, map(script, self.topics))

    def timed(self, kind: str, messages: int, script: Callable[[bytes], Script]) -> None:
        """Run `play` and record it as `messages` messages of a kind of load."""
        self.figures.timed(kind, messages, self.watched, lambda: self.play(script))

    def _connect(self, stack: ExitStack) -> Connection:
        connection = HttpConnection(self._cluster.ports[0])
        stack.callback(connection.close)
        return connection


def subscription_path(topic: bytes, user: bytes = USER) -> bytes:
    """Return the path of a subscription."""
    return b"/%s/%s" % (topic, user)
