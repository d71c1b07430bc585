"""The cost of the transport between front and broker: ipc, TCP on loopback, and TCP with CURVE."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from bench.harness.measurement import Options, Row, Section, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS, Cluster
from bench.harness.wires import CURVE, IPC, TCP
from bench.loads.broker_client import ClusterClient
from bench.loads.wrk import CONNECTIONS
from bench.measures import large
from bench.measures.http import POST, Contender, reset_topics, run_checked

SMALL, PUBLISH, READ = f"publish 100 bytes, {CONNECTIONS} connections", "publish 64 KiB, 4", "read 64 KiB, 4"
COUNT = 2000
"""Bodies of 64 KiB per round."""


class Transport:
    """One front and one broker over one transport, and their figures."""

    def __init__(self, stack: ExitStack, wire: str) -> None:
        self._cluster = stack.enter_context(Cluster(1, 1, broker_flags=BROKER_FLAGS, wire=wire))
        self._client = stack.enter_context(ClusterClient(self._cluster.map, self._cluster.keys))
        self._watched = {"front": self._cluster.fronts, "broker": self._cluster.brokers}
        self.rates: dict[str, list[float]] = {}
        self.costs: dict[str, list[dict[str, float]]] = {}
        """Microseconds of CPU time per message, by process."""
        large.subscribe(self._cluster.ports[0])

    def turn(self, options: Options) -> None:
        """Run all loads once."""
        reset_topics(self._client, POST.load.topics)
        contender = Contender(self._cluster.ports, self._watched, self._client)
        run = run_checked(POST, contender, self._client, options.seconds)
        self._note(SMALL, run.rate, run.cpu)
        reset_topics(self._client, POST.load.topics)
        count = options.amount(COUNT)
        for name, load in ((PUBLISH, large.publish), (READ, large.read)):
            before = self._cpu()
            speed = load(self._cluster.ports[0], count)
            after = self._cpu()
            self._note(name, speed, {each: (after[each] - before[each]) / count * 1e6 for each in before})

    def clear(self) -> None:
        """Discard the figures of the warm-up."""
        self.rates.clear()
        self.costs.clear()

    def cost(self, name: str) -> str:
        """Return the medians as text for the remarks column."""
        runs = self.costs[name]
        return ", ".join(f"{each} {median(run[each] for run in runs):.0f}" for each in runs[0])

    def _note(self, name: str, rate: float, cost: dict[str, float]) -> None:
        self.rates.setdefault(name, []).append(rate)
        self.costs.setdefault(name, []).append(cost)

    def _cpu(self) -> dict[str, float]:
        return {name: sum(process.cpu() for process in processes) for name, processes in self._watched.items()}


def measure(options: Options) -> Section:
    """Measure all transports interleaved, and compare each with ipc."""
    with ExitStack() as stack:
        transports = {wire: Transport(stack, wire) for wire in (IPC, TCP, CURVE)}
        for transport in transports.values():
            transport.turn(Options(1, 1, True))
            transport.clear()
        for number in range(options.rounds):
            for wire in round_order(transports, number):
                transports[wire].turn(options)
            shown = ", ".join(f"{wire} {transport.rates[SMALL][-1]:,.0f}" for wire, transport in transports.items())
            progress(f"links, round {number + 1}/{options.rounds}: {shown}")
    section = Section("Fronts to brokers, one of each: messages or MB per second", IPC, "µs of CPU per message")
    section.rows = [_row(name, wire, transports) for name in (SMALL, PUBLISH, READ) for wire in (TCP, CURVE)]
    section.data = {wire: {"rates": transport.rates, "cpu": transport.costs} for wire, transport in transports.items()}
    return section


def _row(name: str, wire: str, transports: dict[str, Transport]) -> Row:
    ours, other = transports[wire], transports[IPC]
    unit = "/s" if name == SMALL else " MB/s"
    shown, against = (f"{median(transport.rates[name]):,.0f}{unit}" for transport in (ours, other))
    remark = f"{ours.cost(name)}; over ipc {other.cost(name)}"
    return Row(f"{name}, {wire}", shown, against, ratio(ours.rates[name], other.rates[name]), remark=remark)
