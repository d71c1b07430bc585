"""Operations per second of a single broker over ZeroMQ, compared with a bare ROUTER (bench/rivals/echo.py)."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from bench.harness.measurement import Options, Row, Section, at_least, progress, ratio
from bench.harness.processes import BROKER_FLAGS, BenchError, Cluster, Process
from bench.loads.broker_client import NOTHING, WINDOW, BrokerClient, Dealer, Frame, Item
from common.cluster.slots import BrokerAddress
from common.protocol import ops
from common.protocol.ops import Op

OPERATIONS = 100_000
"""Per kind and round; the requests are packed in advance."""
TOPICS = 100
PACKED = (64, 1)
"""Requests per frame."""
AIM = 60_000
MESSAGE = ops.Publish(b"", b"x" * 100)

Kind = Callable[[int], list[Item]]


def _each(op: Op, user: bytes, args: ops.Nothing | ops.Publish = NOTHING) -> Kind:
    return lambda count: [(op, b"t%d" % (n % TOPICS), user, args) for n in range(count)]


def _users(op: Op) -> Kind:
    return lambda count: [(op, b"t%d" % (n % TOPICS), b"user%08d" % n, NOTHING) for n in range(count)]


KINDS: dict[str, Kind] = {
    "publish": _each(Op.PUBLISH, b"", MESSAGE),
    "take": _each(Op.TAKE, b"u"),
    "take, nothing there": _each(Op.TAKE, b"u"),
    "subscribe": _users(Op.SUBSCRIBE),
    "unsubscribe": _users(Op.UNSUBSCRIBE),
}
"""In this order each kind uses the state left by the one before: one user per topic reads what was published."""


def measure(options: Options) -> Section:
    """Measure every kind with 64 requests per frame and with one."""
    count = options.amount(OPERATIONS)
    figures = Figures()
    with Cluster(1, broker_flags=BROKER_FLAGS) as ours:
        mirror = f"ipc://{ours.run_dir}/echo.sock"
        broker, echo = ours.brokers[0], ours.start("bench.rivals.echo", mirror)
        with BrokerClient(ours.map, ours.map.brokers[0]) as client, Dealer(BrokerAddress("echo", mirror)) as dealer:
            client.run(_each(Op.SUBSCRIBE, b"u")(TOPICS))
            for number in range(options.rounds):
                for packed in PACKED:
                    for name, kind in KINDS.items():
                        figures.add(name, packed, _timed(client, broker, client.frames(kind(count), packed)))
                    figures.add("bare", packed, _timed(dealer, echo, client.frames(KINDS["take"](count), packed)))
                progress(f"broker core, round {number + 1}/{options.rounds}")
            if client.errors():
                raise BenchError(f"the broker refused requests: {client.stats()}")
    title = f"Broker alone, {WINDOW:,} requests in flight: single operations per second"
    section = Section(title, "ROUTER that decodes and answers nil", "µs of CPU per operation")
    section.rows = [_row(figures, name, packed) for packed in PACKED for name in KINDS]
    section.data = {"rates": figures.rates, "cpu": figures.cpu}
    return section


class Figures:
    """One figure per kind, requests per frame, and round."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = {}
        """Operations per second."""
        self.cpu: dict[str, list[float]] = {}
        """Microseconds of CPU time of the server per operation."""

    def add(self, name: str, packed: int, timed: tuple[float, float]) -> None:
        """Record one round."""
        self.rates.setdefault(f"{name}/{packed}", []).append(timed[0])
        self.cpu.setdefault(f"{name}/{packed}", []).append(timed[1])


def _timed(client: Dealer, process: Process, frames: list[Frame]) -> tuple[float, float]:
    count = sum(frame.requests for frame in frames)
    before = process.cpu()
    seconds = client.exchange(frames)
    return count / seconds, (process.cpu() - before) / count * 1e6


def _row(figures: Figures, name: str, packed: int) -> Row:
    key, bare = f"{name}/{packed}", f"bare/{packed}"
    rate = median(figures.rates[key])
    aim, met = at_least(rate, AIM)
    return Row(
        f"{name}, {packed} per frame",
        f"{rate:,.0f}/s",
        f"{median(figures.rates[bare]):,.0f}/s",
        ratio(figures.rates[key], figures.rates[bare]),
        f"{aim}/s",
        met,
        f"broker {median(figures.cpu[key]):.1f}, bare {median(figures.cpu[bare]):.1f}",
    )
