"""Memory of a broker per subscription, topic, message, lease and so on.

A broker estimates its memory from constants (such as `MESSAGE_COST`), which are derived from these measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import BROKER_FLAGS, Cluster
from bench.loads.broker_client import NOTHING, BrokerClient, Item
from broker.state.delayed import DELAYED_COST
from broker.state.delivery_state import DELIVERY_STATE_COST
from broker.state.idempotency import KEY_COST
from broker.state.leases import HELD_COST
from broker.state.piece import MESSAGE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from common.protocol import ops
from common.protocol.ops import Op

AIM = 300
"""Bytes of an idle subscription, including its names."""
BATCH = 64_000
"""Requests packed at a time."""
USER = b"user%08d"

Items = Callable[[int], Iterator[Item]]


class Case(NamedTuple):
    """A kind of content that a broker holds in large numbers."""

    name: str
    number: int
    items: Items
    """Returns the requests that create `number` of them."""
    setup: Items | None = None
    """Requests before memory is first read."""
    content: int = 0
    """Bytes of names or content of each, which the constants do not include."""
    cost: int = 0
    """The broker's estimate for each, in addition."""
    aim: bool = False


def measure(options: Options) -> Section:
    """Measure a fresh broker per case. With `--quick` an eighth of the number."""
    section = Section("Resident memory of a broker, each", "the broker's own estimate", data={"cases": []})
    for case in CASES:
        count = options.amount(case.number)
        each = _bytes_each(case, count)
        estimate = case.content + case.cost
        progress(f"memory, {count:,} {case.name}: {each:.0f} bytes each")
        aim, met = at_most(each, AIM if case.aim else estimate)
        remark = "" if each <= estimate else f"the constant is too low by {each - estimate:.0f}"
        against = f"{estimate} bytes, {case.content} of them names and content"
        section.rows.append(
            Row(f"{count:,} {case.name}", f"{each:.0f} bytes", against, each / estimate, aim, met, remark)
        )
        section.data["cases"].append({"name": case.name, "count": count, "bytes": each, "estimate": estimate})
    return section


def _bytes_each(case: Case, count: int) -> float:
    with Cluster(1, broker_flags=BROKER_FLAGS) as ours, BrokerClient(ours.map, ours.map.brokers[0]) as client:
        # Warm up: the one-time cost of first requests and full queues is not state.
        client.run([(Op.SUBSCRIBE, b"warm", USER % n, NOTHING) for n in range(5000)])
        client.run([(Op.UNSUBSCRIBE, b"warm", USER % n, NOTHING) for n in range(5000)])
        if case.setup:
            _send(client, case.setup(count))
        before = ours.brokers[0].rss()
        _send(client, case.items(count))
        return (ours.brokers[0].rss() - before) / count


def _send(client: BrokerClient, items: Iterator[Item]) -> None:
    while batch := [item for item, _ in zip(items, range(BATCH), strict=False)]:
        client.run(batch)


def _subscriptions(topics: int) -> Items:
    """Subscribe different users, spread over `topics` topics."""

    def items(count: int) -> Iterator[Item]:
        return ((Op.SUBSCRIBE, b"topic%06d" % (n % topics), USER % n, NOTHING) for n in range(count))

    return items


def _each_topic(count: int) -> Iterator[Item]:
    return ((Op.SUBSCRIBE, b"topic%06d" % n, USER % n, NOTHING) for n in range(count))


def _one_reader(count: int) -> Iterator[Item]:
    return iter([(Op.SUBSCRIBE, b"topic", b"user", NOTHING)])


def _messages(topic: bytes, headers: bytes) -> Items:
    """Publish different bodies. `topic` may be a format of a number."""

    def items(count: int) -> Iterator[Item]:
        for n in range(count):
            name = topic % n if b"%" in topic else topic
            yield (Op.PUBLISH, name, b"", ops.Publish(headers, b"%0100d" % n))

    return items


def _worker(number: int) -> bytes:
    return USER % (number // LEASES)


def _work(count: int) -> Iterator[Item]:
    """Create workers and as many messages as each may lease."""
    yield from ((Op.SUBSCRIBE, b"topic", _worker(n), NOTHING) for n in range(0, count, LEASES))
    yield from ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"")) for _ in range(min(count, LEASES)))


def _leases(count: int) -> Iterator[Item]:
    return ((Op.TAKE, b"topic", _worker(n), ops.Take(lease=HOUR_US)) for n in range(count))


def _settings(count: int) -> Iterator[Item]:
    return ((Op.CONFIGURE, b"topic000000", USER % n, ops.Settings(max_deliveries=5)) for n in range(count))


def _delayed(count: int) -> Iterator[Item]:
    delay = HOUR_US // 1000
    return ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"%0100d" % n, delay=delay)) for n in range(count))


def _keyed(count: int) -> Iterator[Item]:
    digest = b"x" * 16
    return ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"", key=b"%036d" % n, digest=digest)) for n in range(count))


LEASES = 1000
"""Per worker; the maximum of a broker."""
HOUR_US = 3600 * 1_000_000
_HEADERS = b"x" * 40
_SHARED = SUBSCRIPTION_COST + TOPIC_COST // 100
CASES = (
    Case("subscriptions to one topic", 1_000_000, _subscriptions(1), None, 12, SUBSCRIPTION_COST, aim=True),
    Case("subscriptions to 10,000 topics", 1_000_000, _subscriptions(10_000), None, 12, _SHARED, aim=True),
    Case("topics with a subscription", 100_000, _each_topic, None, 23, TOPIC_COST + SUBSCRIPTION_COST),
    Case("messages of one topic", 100_000, _messages(b"topic", b""), _one_reader, 100, MESSAGE_COST),
    Case("messages with headers", 100_000, _messages(b"topic", _HEADERS), _one_reader, 140, MESSAGE_COST),
    Case("messages, one per topic", 100_000, _messages(b"topic%06d", _HEADERS), _each_topic, 140, MESSAGE_COST),
    Case("leased messages", 100_000, _leases, _work, 0, HELD_COST + DELIVERY_STATE_COST // LEASES),
    Case("subscriptions with settings", 100_000, _settings, _subscriptions(1), 0, DELIVERY_STATE_COST),
    Case("delayed messages", 100_000, _delayed, _one_reader, 105, DELAYED_COST),
    Case("messages with idempotency keys", 50_000, _keyed, _one_reader, 36, KEY_COST + MESSAGE_COST),
)
