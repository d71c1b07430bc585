"""Reading at least once over HTTP, with `after` and with leases, compared with plain reading: messages per second."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.harness.measurement import Options, Row, Section, progress, round_order
from bench.loads.client import Script
from bench.loads.scripts import fetch_lines, get_after, get_each, lease_batches, lease_each, make_batch, publish_batches
from bench.loads.testbed import CONNECTIONS, Testbed, subscription_path

SIZE = 100
TOGETHER = 100
"""Messages per request, and receipts per acknowledgement."""
BATCH = make_batch(500, SIZE)
"""Subscriptions are filled with these."""


class Way(NamedTuple):
    """One way to read."""

    name: str
    read: Callable[[bytes, int], Script]
    """Makes the script from the path of a subscription and its number of messages."""
    batches: int
    """Number of `BATCH`es per connection and round."""


PLAIN = Way("GET", lambda target, count: get_each(target, SIZE, count), 4)
AFTER = Way("GET after", lambda target, count: get_after(target, SIZE, count), 4)
LEASED = Way("GET lease, DELETE", lambda target, count: lease_each(target, SIZE, count), 4)
LINES = Way(f"GET max={TOGETHER}", lambda target, count: fetch_lines(target, TOGETHER, count), 50)
LEASED_LINES = Way(
    f"GET lease max={TOGETHER}, POST acks", lambda target, count: lease_batches(target, TOGETHER, count), 50
)
WAYS = {way.name: way for way in (PLAIN, AFTER, LEASED, LINES, LEASED_LINES)}
ROWS = ((AFTER, PLAIN), (LEASED, PLAIN), (LEASED_LINES, PLAIN), (LEASED_LINES, LINES))
"""Pairs that are compared."""


def measure(options: Options) -> Section:
    """Measure every way once per round, from subscriptions that hold exactly what is read."""
    with Testbed() as ours:
        for way in WAYS.values():
            _read(ours, way, 1)  # warm
        ours.figures.clear()
        for number in range(options.rounds):
            for name in round_order(WAYS, number):
                _read(ours, WAYS[name], options.amount(WAYS[name].batches))
            shown = ", ".join(f"{name} {rates[-1]:,.0f}" for name, rates in ours.figures.rates.items())
            progress(f"leases, round {number + 1}/{options.rounds}: {shown}")
    title = f"Reading {SIZE}-byte messages, one front, one broker, {CONNECTIONS} connections: messages per second"
    section = Section(title, "at most once", "µs of CPU per message", data=ours.figures.raw())
    section.rows = [_row(ours, way, other) for way, other in ROWS]
    return section


def _read(ours: Testbed, way: Way, batches: int) -> None:
    ours.subscribe(ours.topics)
    ours.play(lambda topic: publish_batches(topic, BATCH, batches))
    count = batches * BATCH.messages
    ours.timed(way.name, count * CONNECTIONS, lambda topic: way.read(subscription_path(topic), count))


def _row(ours: Testbed, way: Way, other: Way) -> Row:
    figures = ours.figures
    against = f"{other.name} {figures.rate(other.name):,.0f}/s"
    cost = f"{figures.cost(way.name)}; {other.name} {figures.cost(other.name)}"
    shown = f"{figures.rate(way.name):,.0f}/s"
    return Row(way.name, shown, against, figures.ratio(way.name, other.name), remark=cost)
