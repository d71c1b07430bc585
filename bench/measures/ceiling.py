"""Resident memory of a broker filled up to its `memory` setting, for each kind of content.

A broker estimates its memory from constants; if an estimate is too low, it exceeds the setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import NamedTuple

from bench.harness.measurement import Options, Row, Section, at_most, progress
from bench.harness.processes import Cluster
from bench.loads.broker_client import NOTHING, BrokerClient, Item
from common.protocol import ops
from common.protocol.ops import Op
from common.units import MIB

MEMORY = 256 * MIB
"""The `memory` setting in bytes; an eighth with `--quick`."""
AIM = 1.25
"""Growth of a broker as a multiple of its estimate."""
FULL = 0.97
"""A broker whose estimate reaches this fraction of the setting is full."""
FLAGS = (
    "--max-messages=100000000", "--max-bytes=16GiB", "--max-topics=100000000", "--max-subscriptions=100000000",
    "--max-leases=1000000", "--lease-window=100000000", "--max-dead=1000000", "--max-dead-bytes=16GiB",
    "--max-delayed=100000000", "--max-keys=100000000", "--max-key-bytes=16GiB",
)  # fmt: skip
HOUR_US = 3600 * 1_000_000
CHURN = 2000
"""Messages of one size before the size grows."""
STALLED_CHECKS = 5
"""Checks without growth after which a broker counts as full."""
USERS = 100
"""Users with many leased messages each."""

Items = Callable[[], Iterator[Item]]


class Filling(NamedTuple):
    """One way to fill a broker."""

    name: str
    items: Items
    """An endless iterator of requests."""
    setup: Items = lambda: iter(())
    """Requests before those; finite."""
    per_check: int = 4000
    """Requests between two checks of the estimate."""
    part: float = 1.0
    """Fraction of the setting that it may fill; a broker limits leases to half and dead letters to a quarter."""


def measure(options: Options) -> Section:
    """Measure a fresh broker per filling."""
    memory = MEMORY // 8 if options.quick else MEMORY
    section = Section("A broker at its memory limit", "its estimate", data={"ceiling": []})
    for filling in FILLINGS:
        grown, estimate = _fill(filling, memory)
        progress(f"ceiling, {filling.name}: {grown / MIB:.0f} MiB, estimated {estimate / MIB:.0f}")
        ratio = grown / estimate
        aim, met = at_most(ratio, AIM)
        section.rows.append(Row(filling.name, f"{grown / MIB:.0f} MiB", f"{estimate / MIB:.0f} MiB", ratio, aim, met))
        section.data["ceiling"].append({"name": filling.name, "bytes": grown, "estimate": estimate})
    return section


def _fill(filling: Filling, memory: int) -> tuple[int, int]:
    """Return how many bytes a broker grew, and its own estimate."""
    with (
        Cluster(1, broker_flags=(f"--memory={memory}", *FLAGS)) as ours,
        BrokerClient(ours.map, ours.map.brokers[0]) as client,
    ):
        before = ours.brokers[0].rss()
        setup = list(filling.setup())
        client.exchange(client.frames(setup), 256)
        items, highest, stalled = filling.items(), -1, 0
        while True:
            client.exchange(client.frames(islice(items, filling.per_check), 16 if filling.per_check > 1000 else 1), 256)
            estimate = client.stats()["memory_bytes"]
            highest, stalled = max(highest, estimate), stalled + 1 if estimate <= highest else 0
            if estimate >= FULL * filling.part * memory or stalled == STALLED_CHECKS:
                return ours.brokers[0].rss() - before, estimate


def _subscribe(topic: bytes, user: bytes) -> Items:
    """Subscribe endlessly. The names may be formats of a number."""
    return lambda: (
        (Op.SUBSCRIBE, topic % n if b"%" in topic else topic, user % n if b"%" in user else user, NOTHING)
        for n in count()
    )


def _one_reader() -> Iterator[Item]:
    return iter([(Op.SUBSCRIBE, b"topic", b"user", NOTHING)])


def _publish(size: int, headers: int = 0, topic: bytes = b"topic", *, ttl: int = 0, delay: int = 0) -> Items:
    def items() -> Iterator[Item]:
        for n in count():
            meta = (b"%d" % n).rjust(headers, b"h") if headers else b""
            body = (b"%d" % n).rjust(size, b"x")[:size]
            yield Op.PUBLISH, topic % n if b"%" in topic else topic, b"", ops.Publish(meta, body, ttl=ttl, delay=delay)

    return items


def _each_topic_publish() -> Iterator[Item]:
    for n in count():
        yield Op.SUBSCRIBE, b"topic%08d" % n, b"user", NOTHING
        yield Op.PUBLISH, b"topic%08d" % n, b"", ops.Publish(b"", b"%0100d" % n)


def _batches(messages: int, size: int) -> Items:
    frame = size.to_bytes(4, "big") + bytes(size)
    offsets = b"".join((n * len(frame)).to_bytes(4, "little") for n in range(messages + 1))
    return lambda: ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", frame * messages, messages, offsets)) for _ in count())


def _sizes() -> Iterator[Item]:
    for n in count():
        yield Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"%0*d" % (40 + n * 7919 % 4000, n))


def _churn() -> Iterator[Item]:
    """Publish ever larger messages, every other one to a reader: the freed gaps are too small for the next ones."""
    for n in count():
        body = b"%0*d" % (30 + n // CHURN * 8, n)
        yield Op.PUBLISH, b"stays", b"", ops.Publish(b"", body)
        yield Op.PUBLISH, b"goes", b"", ops.Publish(b"", body)
        if n % CHURN == CHURN - 1:
            yield from ((Op.FETCH, b"goes", b"user", ops.Fetch(False, "", 0, CHURN, 2**20, False)) for _ in range(9))


def _churn_readers() -> Iterator[Item]:
    return iter([(Op.SUBSCRIBE, b"stays", b"user", NOTHING), (Op.SUBSCRIBE, b"goes", b"user", NOTHING)])


def _workers() -> Iterator[Item]:
    yield from ((Op.SUBSCRIBE, b"topic", b"user%04d" % n, NOTHING) for n in range(USERS))
    yield from ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"")) for _ in range(20_000))


def _lease() -> Iterator[Item]:
    return ((Op.TAKE, b"topic", b"user%04d" % (n % USERS), ops.Take(lease=HOUR_US)) for n in count())


def _one_lease_each() -> Iterator[Item]:
    for n in count():
        yield Op.SUBSCRIBE, b"topic", b"user%08d" % n, NOTHING
        if n % 1000 == 999:
            yield Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"")
            yield from ((Op.TAKE, b"topic", b"user%08d" % m, ops.Take(lease=HOUR_US)) for m in range(n - 999, n + 1))


def _settings() -> Iterator[Item]:
    args = ops.Settings(expires_after=HOUR_US, max_deliveries=5)
    return ((Op.SUBSCRIBE, b"topic", b"user%08d" % n, args) for n in count())


def _dead_reader() -> Iterator[Item]:
    yield from ((Op.SUBSCRIBE, b"topic", b"user%04d" % n, ops.Settings(max_deliveries=1)) for n in range(USERS))
    yield from ((Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"%0100d" % n)) for n in range(10_000))


def _dead() -> Iterator[Item]:
    """Messages are leased and given back by every user."""
    for n in count():
        user = b"user%04d" % (n % USERS)
        yield Op.TAKE, b"topic", user, ops.Take(lease=1)


def _keyed() -> Iterator[Item]:
    return (
        (Op.PUBLISH, b"topic", b"", ops.Publish(b"", b"", key=b"%036d" % n, digest=n.to_bytes(16, "big")))
        for n in count()
    )


def _delayed_topics() -> Iterator[Item]:
    return (
        (Op.PUBLISH, b"topic%08d" % n, b"", ops.Publish(b"", b"%0100d" % n, delay=HOUR_US // 1000)) for n in count()
    )


LONG = b"n" * 240
FILLINGS = (
    Filling("subscriptions to one topic", _subscribe(b"topic", b"user%08d")),
    Filling("subscriptions with long names", _subscribe(b"topic", LONG + b"%08d")),
    Filling("topics with a subscription", _subscribe(b"topic%08d", b"user")),
    Filling("topics with long names", _subscribe(LONG + b"%08d", b"user")),
    Filling("empty messages", _publish(0), _one_reader),
    Filling("messages of 100 bytes", _publish(100), _one_reader),
    Filling("messages of 100 bytes with a ttl", _publish(100, ttl=HOUR_US // 1000), _one_reader),
    Filling("messages of all sizes to 4 KiB", _sizes, _one_reader),
    Filling("messages of 20 KiB", _publish(20_000), _one_reader, 500),
    Filling("messages of 1 MiB", _publish(1_000_000), _one_reader, 16),
    Filling("messages with 40 bytes of headers", _publish(0, 40), _one_reader),
    Filling("messages with 8 KiB of headers", _publish(0, 8000), _one_reader, 1000),
    Filling("one message per topic", _each_topic_publish),
    Filling("batches of 1,000 empty messages", _batches(1000, 0), _one_reader, 400),
    Filling("batches of 3 messages", _batches(3, 10), _one_reader),
    Filling("batches of 4 MiB", _batches(4, 1_000_000), _one_reader, 8),
    Filling("messages between freed ones", _churn, _churn_readers),
    Filling("leases of 100 users", _lease, _workers, part=0.5),
    Filling("one lease per user", _one_lease_each, part=0.5),
    Filling("subscriptions with settings", _settings),
    Filling("dead letters", _dead, _dead_reader, part=0.25),
    Filling("idempotency keys", _keyed, _one_reader),
    Filling("delayed messages", _publish(100, delay=HOUR_US // 1000), _one_reader),
    Filling("delayed messages, one per topic", _delayed_topics),
)
