"""100 subscribers of one topic fetch 100,000 messages each in batches: total messages delivered per second."""

from __future__ import annotations

from bench.harness.measurement import Options, Row, Section, progress, round_order
from bench.loads.client import Script, play
from bench.loads.scripts import fetch_batches, make_batch, publish_batches
from bench.loads.testbed import CONNECTIONS, Testbed, subscription_path

SUBSCRIBERS = 100
BATCH = make_batch(1000, 100)
BATCHES = 100
"""Published per topic and round."""
SHARED, OWN = "shared", "own"


def measure(options: Options) -> Section:
    """Measure it, compared with fetching from topics with one subscriber each."""
    batches = options.amount(BATCHES)
    loads = {SHARED: _shared, OWN: _own}
    with Testbed() as ours:
        for load in loads.values():
            load(ours, 1)  # warm
        ours.figures.clear()
        for number in range(options.rounds):
            for name in round_order(loads, number):
                loads[name](ours, batches)
            rate = ours.figures.rates[SHARED][-1]
            progress(f"deliveries, round {number + 1}/{options.rounds}: {rate:,.0f} per second")
    title = f"Deliveries in batches of {BATCH.messages:,} x {BATCH.size} bytes, {CONNECTIONS} connections, per second"
    section = Section(title, "a topic per subscriber", "µs of CPU per message", data=ours.figures.raw())
    figures = ours.figures
    name = f"{SUBSCRIBERS} subscribers, {batches * BATCH.messages:,} messages"
    shared, own = [f"{figures.rate(kind):,.0f}/s" for kind in (SHARED, OWN)]
    section.rows = [
        Row(name, shared, own, figures.ratio(SHARED, OWN), remark=f"{figures.cost(SHARED)}; own {figures.cost(OWN)}")
    ]
    return section


def _shared(ours: Testbed, batches: int) -> None:
    """Publish once; each connection fetches for its share of the users, one after the other."""
    users = [b"u%d" % n for n in range(SUBSCRIBERS)]
    ours.subscribe(ours.topics[:1], users)
    play(ours.connections[:1], [publish_batches(ours.topics[0], BATCH, batches)])

    def share(number: int) -> Script:
        for user in users[number::CONNECTIONS]:
            yield from fetch_batches(subscription_path(ours.topics[0], user), BATCH, batches)

    delivered = SUBSCRIBERS * batches * BATCH.messages
    scripts = [share(number) for number in range(CONNECTIONS)]
    ours.figures.timed(SHARED, delivered, ours.watched, lambda: play(ours.connections, scripts))


def _own(ours: Testbed, batches: int) -> None:
    """Fetch from one topic per connection."""
    batches *= CONNECTIONS
    ours.subscribe(ours.topics)
    ours.play(lambda topic: publish_batches(topic, BATCH, batches))
    delivered = CONNECTIONS * batches * BATCH.messages
    ours.timed(OWN, delivered, lambda topic: fetch_batches(subscription_path(topic), BATCH, batches))
