"""The replicated store compared with SQLite and with memory: the same loads, interleaved; and take-overs."""

from __future__ import annotations

import http.client
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from bench.harness.disk import data_folder, sqlite_flags
from bench.harness.measurement import Options, Row, Section, at_least, at_most, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS, BenchError
from bench.harness.replicated import ReplicatedCluster
from bench.loads.testbed import Testbed
from bench.measures.durable import Load, Side, store_loads
from bench.rivals.jetstream import append_ms

MEMORY, SQLITE, REPLICATED = "memory", "SQLite", "replicated"
CONNECTIONS = 32
AIMS = {"publish, 32": 0.5, "publish 1,000 x 100 bytes, 4": 0.4, "fetch 1,000 x 100 bytes, 4": 0.4}
"""Fractions of the rate of SQLite."""
ALONE = "publish, 1"
APPEND_AIM = 2.0
"""The p50 of one publish, in bare appends."""
APPENDS = 400
TAKE_OVER_AIM_S = 4.0
TAKE_OVERS = 10
PATIENCE_S = 30.0


def measure(options: Options) -> Section:
    """Run each load on all sides in every round, with the order alternating; then kill owners."""
    loads = store_loads(options)
    with ExitStack() as stack:
        data = stack.enter_context(data_folder())
        (data / "replicated").mkdir()
        cluster = ReplicatedCluster(data / "replicated", BROKER_FLAGS)
        testbeds = {
            REPLICATED: stack.enter_context(Testbed(CONNECTIONS, cluster=cluster)),
            SQLITE: stack.enter_context(Testbed(CONNECTIONS, (*BROKER_FLAGS, *sqlite_flags(data)))),
            MEMORY: stack.enter_context(Testbed(CONNECTIONS)),
        }
        sides = {name: Side(testbed) for name, testbed in testbeds.items()}
        for load in store_loads(replace(options, seconds=1, quick=True)):  # warm
            for side in sides.values():
                side.turn(load)
        for side in sides.values():
            side.clear()
        appends = [_round(number, options, loads, sides, cluster) for number in range(options.rounds)]
        taken = _take_overs(cluster, options.amount(TAKE_OVERS))
    title = "Replicated store, three NATS servers on one host: messages per second, p50/p99 ms"
    section = Section(title, "SQLite", "in memory; µs of CPU per message")
    section.rows = [_row(load, sides) for load in loads]
    section.rows += [_append_row(sides[REPLICATED], appends), _take_over_row(taken)]
    for name, side in sides.items():
        section.data[name] = {**side.figures.raw(), "commits": side.commits, "latencies": side.latencies}
    section.data |= {"appends_ms": appends, "take_overs_s": taken, "aims": AIMS}
    return section


def _round(
    number: int, options: Options, loads: list[Load], sides: dict[str, Side], cluster: ReplicatedCluster
) -> float:
    """Return the milliseconds of a bare append in this round."""
    for load in loads:
        for name in round_order(sides, number):
            sides[name].turn(load)
        rates = {name: side.figures.rates[load.name][-1] for name, side in sides.items()}
        share = rates[REPLICATED] / rates[SQLITE]
        progress(f"replicated, round {number + 1}/{options.rounds}: {load.name} {rates[REPLICATED]:,.0f}, {share:.2f}")
    return append_ms([node.url for node in cluster.nodes], options.amount(APPENDS))


def _take_overs(cluster: ReplicatedCluster, count: int) -> list[float]:
    """Kill the owner `count` times; return the seconds until a publish succeeded each time."""
    taken: list[float] = []
    owner = 0
    for number in range(count):
        cluster.brokers[owner].kill()
        began = time.perf_counter()
        _publish_until_done(cluster.ports[0], began + PATIENCE_S)
        taken.append(time.perf_counter() - began)
        cluster.restart(owner)
        owner = 1 - owner
        progress(f"replicated, take-over {number + 1}/{count}: {taken[-1]:.2f} s")
    return taken


def _publish_until_done(port: int, ends: float) -> None:
    while time.perf_counter() < ends:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("POST", "/t0", b"x")
            if connection.getresponse().status == 200:
                return
        finally:
            connection.close()
        time.sleep(0.01)
    raise BenchError(f"no publish succeeded {PATIENCE_S:g} s after a kill")


def _row(load: Load, sides: dict[str, Side]) -> Row:
    name, ours, sqlite, memory = load.name, sides[REPLICATED], sides[SQLITE], sides[MEMORY]
    value = ratio(ours.figures.rates[name], sqlite.figures.rates[name])
    aim, met = at_least(value, AIMS[name]) if name in AIMS else ("", None)
    remark = f"{memory.shown(name)}; {ours.figures.cost(name)}; SQLite {sqlite.figures.cost(name)}"
    return Row(name, ours.shown(name), sqlite.shown(name), value, aim, met, remark)


def _append_row(ours: Side, appends: list[float]) -> Row:
    p50s = [p50 for p50, _ in ours.latencies[ALONE]]
    value = ratio(p50s, appends)
    aim, met = at_most(value, APPEND_AIM)
    shown = f"{median(p50s):.2f} ms", f"{median(appends):.2f} ms"
    return Row("one publish, p50, beside a bare append", *shown, value, aim, met, "nats-py, one at a time")


def _take_over_row(taken: list[float]) -> Row:
    worst, middle = max(taken), median(taken)
    aim, met = at_most(worst, TAKE_OVER_AIM_S)
    remark = f"seconds from SIGKILL of the owner to the first publish; median of {len(taken)}"
    return Row("take-over, worst", f"{worst:.2f} s", f"{middle:.2f} s", worst, aim, met, remark)
