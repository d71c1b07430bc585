"""The latency of a publish while the operator lists a million topics of the same broker, and while nobody does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median, quantiles

from bench.harness.measurement import Options, Row, Section, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS, BenchError, Cluster
from bench.loads.broker_client import NOTHING, BrokerClient, Item
from bench.loads.client import Answer, Connection, HttpConnection, Script, play, request
from common.protocol.ops import Op

TOPICS = 1_000_000
FILLED_AT_ONCE = 100_000
PUBLISHES = 2_000
"""Per turn, one after another on one connection."""
PAGE = 1_000
ALONE, OTHER, SAME = "nobody lists", "listed by another front", "listed by the same front"
BODY = b"x" * 100

Times = dict[str, list[list[float]]]
"""Milliseconds per publish, one list per turn."""


def measure(options: Options) -> Section:
    """Measure one broker with two fronts; the publisher uses the first. Pages of 1,000 are listed without a pause."""
    topics = options.amount(TOPICS)
    times: Times = {ALONE: [], OTHER: [], SAME: []}
    pages = dict.fromkeys(times, 0)
    with ExitStack() as stack:
        ours = stack.enter_context(Cluster(1, 2, broker_flags=(*BROKER_FLAGS, f"--max-topics={2 * TOPICS}")))
        broker = stack.enter_context(BrokerClient(ours.map, ours.map.brokers[0]))
        for some in _subscriptions(topics):
            broker.run(some)
        progress(f"listing: {topics:,} topics created")
        publisher = HttpConnection(ours.ports[0])
        listers = {SAME: HttpConnection(ours.ops_ports[0]), OTHER: HttpConnection(ours.ops_ports[1])}
        for connection in (publisher, *listers.values()):
            stack.callback(connection.close)
        for number in range(options.rounds):
            for name in round_order(times, number):
                taken, listed = _turn(publisher, listers.get(name), options.amount(PUBLISHES))
                times[name].append(taken)
                pages[name] += listed
            progress(f"listing, round {number + 1}/{options.rounds}")
    section = Section(f"Publish over HTTP while {topics:,} topics are listed, p50 and p99", ALONE, "pages listed")
    section.rows = [_row(name, times, q, pages[name]) for name in (OTHER, SAME) for q in (50, 99)]
    section.data = {"ms": times, "pages": pages, "topics": topics}
    return section


def _subscriptions(topics: int) -> Iterator[list[Item]]:
    for start in range(0, topics, FILLED_AT_ONCE):
        numbers = range(start, min(start + FILLED_AT_ONCE, topics))
        yield [(Op.SUBSCRIBE, b"topic-%07d" % (n * 7919 % topics), b"u", NOTHING) for n in numbers]


def _turn(publisher: Connection, lister: Connection | None, publishes: int) -> tuple[list[float], int]:
    """Return the milliseconds of each publish, and the number of pages listed meanwhile."""
    taken: list[float] = []
    pages: list[bytes] = []

    def publish() -> Script:
        sent = request("POST", b"/topic-0000007", BODY)
        for _ in range(publishes):
            began = time.perf_counter()
            yield sent
            taken.append((time.perf_counter() - began) * 1000)

    def page_on() -> Script:
        cursor = b""
        while len(taken) < publishes:
            answer = yield _ask(cursor)
            cursor = _cursor(answer)
            pages.append(cursor)

    if lister is None:
        play([publisher], [publish()])
    else:
        play([publisher, lister], [publish(), page_on()])
        if not pages:
            raise BenchError("no page was listed while messages were published")
    return taken, len(pages)


def _ask(cursor: bytes) -> bytes:
    """Build the request for a page. The operations port accepts addresses only as `Host`."""
    more = b"&cursor=" + cursor if cursor else b""
    return b"GET /-/v1/topics?limit=%d%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (PAGE, more)


def _cursor(answer: Answer) -> bytes:
    """Return the cursor of the next page; b"" after the last."""
    if answer.status != 200:
        raise BenchError(f"a page had status {answer.status}")
    found = bytes(answer.body).rpartition(b'"cursor":')[2].partition(b",")[0]
    return b"" if found == b"null" else found.strip(b'"')


def _row(name: str, times: Times, percent: int, pages: int) -> Row:
    ours, alone = ([_quantile(each, percent) for each in times[kind]] for kind in (name, ALONE))
    shown = [f"{median(each):.2f} ms" for each in (ours, alone)]
    return Row(f"p{percent}, {name}", shown[0], f"{ALONE} {shown[1]}", ratio(ours, alone), remark=f"{pages:,}")


def _quantile(taken: list[float], percent: int) -> float:
    return quantiles(taken, n=100, method="inclusive")[percent - 1]
