"""The time of a publish to a topic with 1, 1,000 and 100,000 subscribers."""

from __future__ import annotations

from statistics import median

from bench.harness.measurement import Options, Row, Section, at_most, progress, ratio, round_order
from bench.harness.processes import BROKER_FLAGS, BenchError, Cluster
from bench.loads.broker_client import NOTHING, BrokerClient, Item
from common.protocol import ops
from common.protocol.ops import Op

SUBSCRIBERS = (1, 1_000, 100_000)
PUBLISHES = 5_000
"""Per topic and turn, 64 per frame."""
TURNS = 8
"""Per topic and round."""
AIM = 1.2
MESSAGE = ops.Publish(b"", b"x" * 100)


def measure(options: Options) -> Section:
    """Publish to topics of one broker; nobody reads, so every message is kept for every subscriber."""
    times: dict[str, list[float]] = {str(each): [] for each in SUBSCRIBERS}
    with Cluster(1, broker_flags=BROKER_FLAGS) as ours, BrokerClient(ours.map, ours.map.brokers[0]) as client:
        for subscribers in SUBSCRIBERS:
            client.run(_subscriptions(subscribers))
        loads = {name: client.frames(_publishes(name)) for name in times}
        for load in loads.values():
            client.exchange(load)  # warm
        for number in range(options.rounds * TURNS):
            for name in round_order(times, number):
                times[name].append(client.exchange(loads[name]) / PUBLISHES * 1e6)
        progress(f"fan-out, {options.rounds} rounds")
        if client.errors():
            raise BenchError(f"the broker refused requests: {client.stats()}")
    section = Section("Publish to one topic, over the wire, 64 per frame", "1 subscriber", data={"us": times})
    one = times[str(SUBSCRIBERS[0])]
    for name, values in times.items():
        value = ratio(values, one)
        aim, met = at_most(value, AIM) if values is not one else ("", None)
        shown = f"{median(values):.2f} µs"
        section.rows.append(
            Row(
                f"{int(name):,} subscriber{'' if values is one else 's'}",
                shown,
                f"{median(one):.2f} µs",
                value,
                aim,
                met,
            )
        )
    return section


def _subscriptions(count: int) -> list[Item]:
    return [(Op.SUBSCRIBE, b"to%d" % count, b"user%08d" % n, NOTHING) for n in range(count)]


def _publishes(subscribers: str) -> list[Item]:
    return [(Op.PUBLISH, b"to" + subscribers.encode(), b"", MESSAGE)] * PUBLISHES
