"""HTTP requests per second and latencies of fronts, compared with as many bare Falcon processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

import msgspec

from bench.harness.measurement import Options, Row, Section, at_least, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS, BenchError, Cluster, Group
from bench.loads import wrk
from bench.loads.broker_client import NOTHING, ClusterClient, Item
from bench.loads.wrk import CONNECTIONS, Load, Run, Watched
from bench.rivals import haproxy
from common.protocol import ops
from common.protocol.ops import Op

MESSAGE = ops.Publish(b"", b"x" * 100)
FASTEST = 25_000
"""Requests per second and front that subscriptions are filled for; a faster run fails."""
AIM = 0.75
TITLE = "HTTP, fronts+brokers, 32 connections: requests per second, p50/p99 ms"
OURS, LOGGED, PROXIED = "Fanmail", "Fanmail, access log on", "Fanmail behind HAProxy"
WAITRESS, WAITRESS_200, OWN_SERVER = "waitress", "waitress, 200 without a body", "our server classes"

Prepare = Callable[[ClusterClient, int], None]


class Contender(NamedTuple):
    """The servers of one side of a comparison."""

    ports: Sequence[int]
    watched: Watched
    client: ClusterClient | None = None
    """To the brokers, if it is ours."""


class Case(NamedTuple):
    """One kind of request."""

    name: str
    load: Load
    bare: tuple[str, ...]
    """Flags with which the bare application gives the same answers."""
    prepare: Prepare
    """Called before each of our runs with the expected number of requests."""
    change: int
    """Change of the number of stored messages per request; checked after each of our runs."""


def measure(options: Options) -> Section:
    """Measure all cases with one front and broker, and those with few headers with two of each."""
    section = Section(TITLE, "bare Falcon application on", "µs of CPU per request", data={"cases": []})
    for size in (1, 2):
        for case in CASES if size == 1 else CASES[:3]:
            title = f"{case.name}, {size}+{size}"
            with ExitStack() as stack:
                runs = _rounds(case, title, _contenders(stack, case, size), options)
            section.rows += _rows(title, runs)
            raw = {name: msgspec.to_builtins(each) for name, each in runs.items()}
            section.data["cases"].append({"name": case.name, "size": size, "runs": raw})
    return section


def _contenders(stack: ExitStack, case: Case, size: int) -> dict[str, Contender]:
    contenders = {OURS: _ours(stack, size)} | _bare(stack, case, size)
    if case is POST and size == 1:
        contenders[LOGGED] = _ours(stack, size, access_log=True)
        if not haproxy.missing():
            contenders[PROXIED] = _behind_haproxy(stack)
    return contenders


def _behind_haproxy(stack: ExitStack) -> Contender:
    ours = _ours(stack, 1)
    proxy = stack.enter_context(Group())
    haproxy.start(proxy, ours.ports[0])
    return ours._replace(ports=proxy.ports, watched={**ours.watched, "HAProxy": proxy.processes})


def _ours(stack: ExitStack, size: int, *, access_log: bool = False) -> Contender:
    cluster = stack.enter_context(Cluster(size, size, access_log=access_log, broker_flags=BROKER_FLAGS))
    client = stack.enter_context(ClusterClient(cluster.map))
    return Contender(cluster.ports, {"front": cluster.fronts, "broker": cluster.brokers}, client)


def _bare(stack: ExitStack, case: Case, size: int) -> dict[str, Contender]:
    wanted = {WAITRESS: ("--server=waitress", *case.bare), OWN_SERVER: ("--server=fanmail", *case.bare)}
    if "--answer=204" in case.bare:
        wanted[WAITRESS_200] = ("--server=waitress", "--answer=200", "--size=0")
    contenders = {}
    for name, flags in wanted.items():
        group = stack.enter_context(Group())
        for _ in range(size):
            group.start_http("bench.rivals.bare", "/", *flags)
        contenders[name] = Contender(group.ports, {"bare": group.processes})
    return contenders


def _rounds(case: Case, title: str, contenders: dict[str, Contender], options: Options) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for contender in contenders.values():
        _run(case, contender, 1)  # warm
    for number in range(options.rounds):
        for name in round_order(contenders, number):
            runs[name].append(_run(case, contenders[name], options.seconds))
        shown = ", ".join(f"{name} {each[-1].rate:,.0f}" for name, each in runs.items())
        progress(f"{title}, round {number + 1}/{options.rounds}: {shown}")
    return runs


def _run(case: Case, contender: Contender, seconds: int) -> Run:
    client = contender.client
    if client is None:
        return wrk.run(case.load, contender.ports, seconds, contender.watched)
    case.prepare(client, expected_requests(seconds, len(contender.ports)))
    return run_checked(case, contender, client, seconds)


def expected_requests(seconds: int, fronts: int) -> int:
    """Return the number of requests that subscriptions are filled for."""
    return FASTEST * (seconds + 1) * fronts


def run_checked(
    case: Case, contender: Contender, client: ClusterClient, seconds: int, connections: int = CONNECTIONS
) -> Run:
    """Load a prepared cluster. Raises `BenchError` if the number of stored messages does not match the requests."""
    before, errors = client.total("messages"), client.errors()
    run = wrk.run(case.load, contender.ports, seconds, contender.watched, connections)
    if run.socket:
        raise BenchError(f"{case.name}: {run.socket} connections were lost")
    changed = client.total("messages") - before
    # Requests in flight when wrk ends are executed but not counted.
    surplus = changed * case.change - run.requests if case.change else changed
    if client.errors() != errors or not 0 <= surplus <= connections * bool(case.change):
        raise BenchError(f"{case.name}: {run.requests} requests changed the stored messages by {changed}")
    return run


def _subscribed(topics: int) -> list[Item]:
    return [(Op.SUBSCRIBE, b"t%d" % n, b"u", NOTHING) for n in range(topics)]


def reset_topics(client: ClusterClient, topics: int) -> None:
    """Recreate `topics` topics, each with one user and no messages."""
    client.run(_subscribed(topics))
    client.run((Op.UNSUBSCRIBE, b"t%d" % n, b"u", NOTHING) for n in range(topics))
    client.run(_subscribed(topics))


def _reset(client: ClusterClient, expected: int) -> None:
    reset_topics(client, POST.load.topics)


def fill_subscriptions(client: ClusterClient, expected: int) -> None:
    """Fill 1,000 topics, each with one user, with enough messages for the expected requests."""
    client.run(_subscribed(GET.load.topics))
    missing = max(0, expected - client.total("messages"))
    client.run((Op.PUBLISH, b"t%d" % (n % 1000), b"", MESSAGE) for n in range(missing + 5000))


GET = Case("GET 200", Load("get", 1000), ("--size=100",), fill_subscriptions, -1)
POST = Case("POST", Load("post", 64), (), _reset, 1)
EMPTY = Case("GET 204", Load("get", 64), ("--answer=204",), _reset, 0)


def _proxied(case: Case) -> Case:
    """Return the same case with the headers of a client behind a proxy."""
    return case._replace(name=f"{case.name}, 13 headers", load=case.load._replace(headers="proxied"))


CASES = (EMPTY, GET, POST, *map(_proxied, (EMPTY, GET, POST)))


def _rows(title: str, runs: dict[str, list[Run]]) -> list[Row]:
    ours = runs[OURS]
    rows = []
    for name in (WAITRESS, WAITRESS_200, OWN_SERVER):
        if name in runs:
            value = ratio(_rates(ours), _rates(runs[name]))
            aim, met = ("", None) if name == OWN_SERVER else at_least(value, AIM)
            rows.append(Row(title, _figures(ours), _against(name, runs), value, aim, met, _costs(ours, runs[name])))
    for name, what in ((LOGGED, "access log on"), (PROXIED, "through HAProxy")):
        if name in runs:
            value = ratio(_rates(runs[name]), _rates(runs[WAITRESS]))
            costs = _costs(runs[name], runs[WAITRESS])
            line = f"{title}, {what}"
            rows.append(Row(line, _figures(runs[name]), _against(WAITRESS, runs), value, "", None, costs))
    return rows


def _against(name: str, runs: dict[str, list[Run]]) -> str:
    closes = " (closes after each 204)" if name == WAITRESS and WAITRESS_200 in runs else ""
    return f"{name}{closes} {_figures(runs[name])}"


def _rates(runs: Sequence[Run]) -> list[float]:
    return [run.rate for run in runs]


def _figures(runs: Sequence[Run]) -> str:
    p50, p99 = median(run.p50 for run in runs), median(run.p99 for run in runs)
    return f"{median(_rates(runs)):,.0f}/s {p50:.1f}/{p99:.1f}"


def _costs(ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    parts = [f"{name} {median(run.cpu[name] for run in runs):.0f}" for runs in (ours, theirs) for name in runs[0].cpu]
    return ", ".join(parts)
