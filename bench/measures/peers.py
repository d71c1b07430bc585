"""Other message servers, if installed, compared with one front and one broker in the same rounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.harness.measurement import Options, Row, Section, progress, round_order
from bench.loads.scripts import fetch_batches, get_each, make_batch, publish_batches, publish_each
from bench.loads.testbed import CONNECTIONS, Figures, Testbed, subscription_path
from bench.rivals import nchan, redis_streams
from bench.rivals.nchan import NchanPeer
from bench.rivals.redis_streams import RedisPeer

BATCH = make_batch(1000, 100)
BATCHES = 200
"""Per connection and round; redis-py runs a quarter of it on one connection."""
SINGLES = 4000
"""Messages per connection and round; Nchan runs five times as many."""
OURS = "Fanmail"
OUR_BATCHES = f"{OURS} in batches"
OUR_SINGLES = f"{OURS} one at a time"

Run = Callable[[], None]


def measure(options: Options) -> Section:
    """Measure the installed servers; the table names those that are missing."""
    figures = Figures()
    batches, singles = options.amount(BATCHES), options.amount(SINGLES)
    absent = {"Redis": redis_streams.missing(), "Nchan": nchan.missing()}
    with ExitStack() as stack:
        runs: dict[str, Run] = {}
        if not all(absent.values()):
            ours = stack.enter_context(Testbed())
            ours.figures = figures
        if not absent["Redis"]:
            redis = RedisPeer(stack)
            runs[OUR_BATCHES] = lambda: _batches(ours, batches)
            runs["Redis"] = lambda: redis.run(figures, BATCH, batches)
            runs["redis-py"] = lambda: redis.run_library(figures, BATCH, -(-batches // 4))
        if not absent["Nchan"]:
            nchan_peer = NchanPeer(stack)
            runs[OUR_SINGLES] = lambda: _singles(ours, singles)
            runs["Nchan"] = lambda: nchan_peer.run(figures, BATCH.size, singles * 5)
        for run in runs.values():
            run()  # warm
        figures.clear()
        for number in range(options.rounds if runs else 0):
            for name in round_order(runs, number):
                runs[name]()
            shown = ", ".join(f"{kind} {rates[-1]:,.0f}" for kind, rates in figures.rates.items())
            progress(f"peers, round {number + 1}/{options.rounds}: {shown}")
    title = f"Other servers, {BATCH.size}-byte messages, {CONNECTIONS} connections: messages per second"
    section = Section(title, "the other", "µs of CPU per message", data=figures.raw())
    section.rows = [row for name in absent for row in _rows(name, absent[name], figures)]
    return section


def _batches(ours: Testbed, batches: int) -> None:
    ours.subscribe(ours.topics)
    total = batches * BATCH.messages * CONNECTIONS
    ours.timed(f"{OUR_BATCHES} publish", total, lambda topic: publish_batches(topic, BATCH, batches))
    ours.timed(f"{OUR_BATCHES} fetch", total, lambda topic: fetch_batches(subscription_path(topic), BATCH, batches))


def _singles(ours: Testbed, singles: int) -> None:
    ours.subscribe(ours.topics)
    total = singles * CONNECTIONS
    ours.timed(f"{OUR_SINGLES} publish", total, lambda topic: publish_each(topic, BATCH.size, singles))
    ours.timed(f"{OUR_SINGLES} read", total, lambda topic: get_each(subscription_path(topic), BATCH.size, singles))


def _rows(peer: str, absent: str, figures: Figures) -> list[Row]:
    if absent:
        return [Row(peer, "", f"skipped: {absent}")]
    if peer == "Nchan":
        return [
            _row("publish one at a time", f"{OUR_SINGLES} publish", "Nchan publish", "Nchan", figures),
            _row("read one at a time", f"{OUR_SINGLES} read", "Nchan read", "Nchan, long poll", figures),
        ]
    return [
        _row(f"{way} in batches of {BATCH.messages:,}", f"{OUR_BATCHES} {way}", f"{program} {way}", shown, figures)
        for program, shown in (("Redis", "Redis Streams"), ("redis-py", "Redis Streams through redis-py"))
        for way in ("publish", "fetch")
    ]


def _row(name: str, kind: str, other: str, peer: str, figures: Figures) -> Row:
    against = f"{peer} {figures.rate(other):,.0f}/s"
    cost = f"{figures.cost(kind)}; {figures.cost(other)}"
    return Row(name, f"{figures.rate(kind):,.0f}/s", against, figures.ratio(kind, other), remark=cost)
