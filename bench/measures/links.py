"""What the way between front and broker costs: the same loads over ipc, TCP on loopback, and TCP with CURVE."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from bench.harness.measurement import Options, Row, Section, ratio, say, turns
from bench.harness.processes import Cluster
from bench.harness.wires import CURVE, IPC, TCP
from bench.loads.broker_client import ClusterClient
from bench.loads.wrk import CONNECTIONS
from bench.measures import large
from bench.measures.http import BROKER_FLAGS, POST, Contender, checked, emptied

SMALL, PUBLISH, READ = f"publish 100 bytes, {CONNECTIONS} connections", "publish 64 KiB, 4", "read 64 KiB, 4"
COUNT = 2000
"""Bodies of 64 KiB in one round."""


class Way:
    """One front and one broker, and what they came to."""

    def __init__(self, stack: ExitStack, wire: str) -> None:
        self._cluster = stack.enter_context(Cluster(1, 1, broker_flags=BROKER_FLAGS, wire=wire))
        self._client = stack.enter_context(ClusterClient(self._cluster.map, self._cluster.keys))
        self._watched = {"front": self._cluster.fronts, "broker": self._cluster.brokers}
        self.rates: dict[str, list[float]] = {}
        self.costs: dict[str, list[dict[str, float]]] = {}
        """Microseconds of processor time a message, by process."""
        large.subscribe(self._cluster.ports[0])

    def turn(self, options: Options) -> None:
        """All loads once."""
        emptied(self._client, POST.load.topics)
        contender = Contender(self._cluster.ports, self._watched, self._client)
        run = checked(POST, contender, self._client, options.seconds)
        self._note(SMALL, run.rate, run.cpu)
        emptied(self._client, POST.load.topics)
        count = options.amount(COUNT)
        for name, load in ((PUBLISH, large.publish), (READ, large.read)):
            before = self._cpu()
            speed = load(self._cluster.ports[0], count)
            after = self._cpu()
            self._note(name, speed, {each: (after[each] - before[each]) / count * 1e6 for each in before})

    def forget(self) -> None:
        """What was noted is of a warming."""
        self.rates.clear()
        self.costs.clear()

    def cost(self, name: str) -> str:
        """The medians, for the column of remarks."""
        runs = self.costs[name]
        return ", ".join(f"{each} {median(run[each] for run in runs):.0f}" for each in runs[0])

    def _note(self, name: str, rate: float, cost: dict[str, float]) -> None:
        self.rates.setdefault(name, []).append(rate)
        self.costs.setdefault(name, []).append(cost)

    def _cpu(self) -> dict[str, float]:
        return {name: sum(process.cpu() for process in processes) for name, processes in self._watched.items()}


def measure(options: Options) -> Section:
    """Interleaved; each way against ipc."""
    with ExitStack() as stack:
        ways = {wire: Way(stack, wire) for wire in (IPC, TCP, CURVE)}
        for way in ways.values():
            way.turn(Options(1, 1, True))
            way.forget()
        for number in range(options.rounds):
            for wire in turns(ways, number):
                ways[wire].turn(options)
            shown = ", ".join(f"{wire} {way.rates[SMALL][-1]:,.0f}" for wire, way in ways.items())
            say(f"links, round {number + 1}/{options.rounds}: {shown}")
    section = Section("Fronts to brokers, one of each: messages or MB a second", IPC, "µs of cpu a message")
    section.rows = [_row(name, wire, ways) for name in (SMALL, PUBLISH, READ) for wire in (TCP, CURVE)]
    section.data = {wire: {"rates": way.rates, "cpu": way.costs} for wire, way in ways.items()}
    return section


def _row(name: str, wire: str, ways: dict[str, Way]) -> Row:
    ours, other = ways[wire], ways[IPC]
    unit = "/s" if name == SMALL else " MB/s"
    figures = [f"{median(way.rates[name]):,.0f}{unit}" for way in (ours, other)]
    remark = f"{ours.cost(name)}; over ipc {other.cost(name)}"
    return Row(f"{name}, {wire}", *figures, ratio(ours.rates[name], other.rates[name]), remark=remark)
