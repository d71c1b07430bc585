"""Requests a second and latencies through the fronts, beside the same number of bare Falcon processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

import msgspec

from bench.harness.measurement import Options, Row, Section, at_least, ratio, say, turns
from bench.harness.processes import BenchError, Cluster, Group
from bench.loads import wrk
from bench.loads.broker_client import NOTHING, ClusterClient, Item
from bench.loads.wrk import CONNECTIONS, Load, Run, Watched
from common.protocol import ops
from common.protocol.ops import Op

BROKER_FLAGS = ("--memory=16GiB", "--max-messages=100000000", "--max-bytes=16GiB")
"""No ceiling is met: what is measured is the way, not the refusal."""
MESSAGE = ops.Publish(b"", b"x" * 100)
FASTEST = 25_000
"""Requests a second and front that the mailboxes are filled for; a run that takes more is refused."""
AIM = 0.75
TITLE = "HTTP, fronts+brokers, 32 connections: requests a second, p50/p99 ms"
OURS, LOGGED = "Fanmail", "Fanmail, access log on"
WAITRESS, KEPT, OWN_SERVER = "waitress", "waitress, 200 without a body", "our server classes"

Around = Callable[[ClusterClient, int], None]


class Contender(NamedTuple):
    """Somebody who is loaded."""

    ports: Sequence[int]
    watched: Watched
    client: ClusterClient | None = None
    """To its brokers, where it is ours."""


class Case(NamedTuple):
    """One kind of request."""

    name: str
    load: Load
    bare: tuple[str, ...]
    """Flags of the bare application that answer the same."""
    prepare: Around
    """Called before each of our runs with the number of requests to expect."""
    change: int
    """What one request does to the number of stored messages; checked after each of our runs."""


def measure(options: Options) -> Section:
    """All cases with one and with two fronts and brokers."""
    section = Section(TITLE, "bare Falcon application on", "µs of cpu a request", data={"cases": []})
    for size in (1, 2):
        for case in CASES:
            title = f"{case.name}, {size}+{size}"
            with ExitStack() as stack:
                runs = _rounds(case, title, _contenders(stack, case, size), options)
            section.rows += _rows(title, runs)
            raw = {name: msgspec.to_builtins(each) for name, each in runs.items()}
            section.data["cases"].append({"name": case.name, "size": size, "runs": raw})
    return section


def _contenders(stack: ExitStack, case: Case, size: int) -> dict[str, Contender]:
    contenders = {OURS: _ours(stack, size)} | _bare(stack, case, size)
    if case.name == "POST" and size == 1:
        contenders[LOGGED] = _ours(stack, size, access_log=True)
    return contenders


def _ours(stack: ExitStack, size: int, *, access_log: bool = False) -> Contender:
    cluster = stack.enter_context(Cluster(size, size, access_log=access_log, broker_flags=BROKER_FLAGS))
    client = stack.enter_context(ClusterClient(cluster.map))
    return Contender(cluster.ports, {"front": cluster.fronts, "broker": cluster.brokers}, client)


def _bare(stack: ExitStack, case: Case, size: int) -> dict[str, Contender]:
    wanted = {WAITRESS: ("--server=waitress", *case.bare), OWN_SERVER: ("--server=fanmail", *case.bare)}
    if "--answer=204" in case.bare:
        wanted[KEPT] = ("--server=waitress", "--answer=200", "--size=0")
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
        for name in turns(contenders, number):
            runs[name].append(_run(case, contenders[name], options.seconds))
        shown = ", ".join(f"{name} {each[-1].rate:,.0f}" for name, each in runs.items())
        say(f"{title}, round {number + 1}/{options.rounds}: {shown}")
    return runs


def _run(case: Case, contender: Contender, seconds: int) -> Run:
    client = contender.client
    if client is None:
        return wrk.run(case.load, contender.ports, seconds, contender.watched)
    case.prepare(client, expected(seconds, len(contender.ports)))
    return checked(case, contender, client, seconds)


def expected(seconds: int, fronts: int) -> int:
    """Requests that mailboxes are filled for."""
    return FASTEST * (seconds + 1) * fronts


def checked(
    case: Case, contender: Contender, client: ClusterClient, seconds: int, connections: int = CONNECTIONS
) -> Run:
    """One run against a cluster that is prepared. Raises `BenchError` where the stored messages do not show it."""
    before, errors = client.total("messages"), client.errors()
    run = wrk.run(case.load, contender.ports, seconds, contender.watched, connections)
    if run.socket:
        raise BenchError(f"{case.name}: {run.socket} connections were lost")
    changed = client.total("messages") - before
    # Requests that wrk had under way at its end are executed and not counted.
    surplus = changed * case.change - run.requests if case.change else changed
    if client.errors() != errors or not 0 <= surplus <= connections * bool(case.change):
        raise BenchError(f"{case.name}: {run.requests} requests changed the stored messages by {changed}")
    return run


def _subscribed(topics: int) -> list[Item]:
    return [(Op.SUBSCRIBE, b"t%d" % n, b"u", NOTHING) for n in range(topics)]


def emptied(client: ClusterClient, topics: int) -> None:
    """So many topics, each with one user and without messages: what a run before has published is let go."""
    client.run(_subscribed(topics))
    client.run((Op.UNSUBSCRIBE, b"t%d" % n, b"u", NOTHING) for n in range(topics))
    client.run(_subscribed(topics))


def _anew(client: ClusterClient, expected: int) -> None:
    emptied(client, POST.load.topics)


def filled(client: ClusterClient, expected: int) -> None:
    """1,000 topics, each with one user and enough messages for a share of what is expected."""
    client.run(_subscribed(GET.load.topics))
    missing = max(0, expected - client.total("messages"))
    client.run((Op.PUBLISH, b"t%d" % (n % 1000), b"", MESSAGE) for n in range(missing + 5000))


GET = Case("GET 200", Load("get", 1000), ("--size=100",), filled, -1)
POST = Case("POST", Load("post", 64), (), _anew, 1)
CASES = (Case("GET 204", Load("get", 64), ("--answer=204",), _anew, 0), GET, POST)


def _rows(title: str, runs: dict[str, list[Run]]) -> list[Row]:
    ours = runs[OURS]
    rows = []
    for name in (WAITRESS, KEPT, OWN_SERVER):
        if name in runs:
            value = ratio(_rates(ours), _rates(runs[name]))
            aim, met = ("", None) if name == OWN_SERVER else at_least(value, AIM)
            rows.append(Row(title, _figures(ours), _against(name, runs), value, aim, met, _costs(ours, runs[name])))
    if LOGGED in runs:
        value = ratio(_rates(runs[LOGGED]), _rates(runs[WAITRESS]))
        costs = _costs(runs[LOGGED], runs[WAITRESS])
        log = f"{title}, access log on"
        rows.append(Row(log, _figures(runs[LOGGED]), _against(WAITRESS, runs), value, "", None, costs))
    return rows


def _against(name: str, runs: dict[str, list[Run]]) -> str:
    closes = " (closes after each 204)" if name == WAITRESS and KEPT in runs else ""
    return f"{name}{closes} {_figures(runs[name])}"


def _rates(runs: Sequence[Run]) -> list[float]:
    return [run.rate for run in runs]


def _figures(runs: Sequence[Run]) -> str:
    p50, p99 = median(run.p50 for run in runs), median(run.p99 for run in runs)
    return f"{median(_rates(runs)):,.0f}/s {p50:.1f}/{p99:.1f}"


def _costs(ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    parts = [f"{name} {median(run.cpu[name] for run in runs):.0f}" for runs in (ours, theirs) for name in runs[0].cpu]
    return ", ".join(parts)
