"""Messages published and fetched in batches of frames through one front, compared with one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.harness.measurement import Options, Row, Section, at_least, progress, round_order
from bench.loads.scripts import Batch, fetch_batches, get_each, make_batch, publish_batches, publish_each
from bench.loads.testbed import CONNECTIONS, Testbed, subscription_path
from common.protocol import ops
from common.protocol.ops import Op

AIM = 700_000
"""Messages of 100 bytes per second, in each direction."""
WAYS = ("publish", "fetch")
GATHERED = "fetch 1,000 published one at a time"
MB = 1_000_000


class Case(NamedTuple):
    """One size of messages."""

    name: str
    batch: Batch
    batches: int
    """Per connection and round."""
    singles: int
    """Messages per connection and round, one at a time."""


SMALL = Case("1,000 x 100 bytes", make_batch(1000, 100), 500, 2000)
LARGE = Case("16 x 64 KiB", make_batch(16, 64 * 1024), 64, 256)
GATHERED_BATCHES = 25
"""Per connection and round, published directly to the broker in advance."""


def measure(options: Options) -> Section:
    """Measure every case in batches and one at a time, published and then fetched by all connections."""
    with Testbed() as ours:
        for case in (SMALL, LARGE):
            _batched(ours, case, 2, content=True)
            _single(ours, case, 10)
        ours.figures.clear()
        runs = _runs(ours, options)
        for number in range(options.rounds):
            for name in round_order(runs, number):
                runs[name]()
            shown = ", ".join(f"{name} {rates[-1]:,.0f}" for name, rates in ours.figures.rates.items())
            progress(f"batches, round {number + 1}/{options.rounds}: {shown}")
    title = f"Batches of frames, one front, one broker, {CONNECTIONS} connections: messages per second"
    section = Section(title, "one at a time", "µs of CPU per message", data=ours.figures.raw())
    single = kind(SMALL, "fetch", True)
    section.rows = [_row(ours, kind(SMALL, way), kind(SMALL, way, True), 100, AIM) for way in WAYS]
    section.rows += [_row(ours, GATHERED, single, 100)]
    section.rows += [_row(ours, kind(LARGE, way), kind(LARGE, way, True), LARGE.batch.size) for way in WAYS]
    return section


def _runs(ours: Testbed, options: Options) -> dict[str, Callable[[], None]]:
    amount = options.amount
    return {
        "small": lambda: _batched(ours, SMALL, amount(SMALL.batches)),
        "small, single": lambda: _single(ours, SMALL, amount(SMALL.singles)),
        "gathered": lambda: _gathered(ours, amount(GATHERED_BATCHES)),
        "large": lambda: _batched(ours, LARGE, amount(LARGE.batches)),
        "large, single": lambda: _single(ours, LARGE, amount(LARGE.singles)),
    }


def _batched(ours: Testbed, case: Case, batches: int, content: bool = False) -> None:
    """Publish and fetch in batches. `content`: compare all bytes, which takes time."""
    ours.subscribe(ours.topics)
    batch, total = case.batch, batches * case.batch.messages * CONNECTIONS
    ours.timed(kind(case, "publish"), total, lambda topic: publish_batches(topic, batch, batches))
    ours.timed(
        kind(case, "fetch"), total, lambda topic: fetch_batches(subscription_path(topic), batch, batches, content)
    )


def _single(ours: Testbed, case: Case, messages: int) -> None:
    ours.subscribe(ours.topics)
    size, total = case.batch.size, messages * CONNECTIONS
    ours.timed(kind(case, "publish", True), total, lambda topic: publish_each(topic, size, messages))
    ours.timed(kind(case, "fetch", True), total, lambda topic: get_each(subscription_path(topic), size, messages))


def _gathered(ours: Testbed, batches: int) -> None:
    """Fetch batches of messages that the broker stores as one piece each and has to join."""
    ours.subscribe(ours.topics)
    batch = SMALL.batch
    message, each = ops.Publish(b"", b"x" * batch.size), batches * batch.messages
    ours.broker.run((Op.PUBLISH, topic, b"", message) for topic in ours.topics for _ in range(each))
    ours.timed(GATHERED, each * CONNECTIONS, lambda topic: fetch_batches(subscription_path(topic), batch, batches))


def kind(case: Case, way: str, single: bool = False) -> str:
    """Return the name of a load in the figures."""
    return f"{way} {case.batch.size} bytes, one at a time" if single else f"{way} {case.name}"


def _row(ours: Testbed, batched: str, single: str, size: int, aim: int = 0) -> Row:
    figures = ours.figures
    text, met = at_least(figures.rate(batched), aim) if aim else ("", None)
    shown, against = (_shown(figures.rate(each), size) for each in (batched, single))
    cost = f"{figures.cost(batched)}; one at a time {figures.cost(single)}"
    return Row(batched, shown, against, figures.ratio(batched, single), text and f"{text}/s", met, cost)


def _shown(rate: float, size: int) -> str:
    return f"{rate:,.0f}/s" if size == 100 else f"{rate * size / MB:,.0f} MB/s"
