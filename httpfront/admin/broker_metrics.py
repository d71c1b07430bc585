"""The metrics of the brokers, made of what they answer to STATS. Every front reports every broker.

A broker that does not answer in time leaves its series out, and `fanmail_broker_up` is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from common.protocol.ops import Op
from common.protocol.stats import TIME_BOUNDS, bucket
from httpfront.admin.front_metrics import cumulative
from httpfront.gateway.broker_status import BrokerStatus

Stats = Mapping[str, int]
"""Gauges and counters of one broker."""


class Row(NamedTuple):
    """A metric, and what of the answer it is."""

    name: str
    text: str
    stat: str
    divisor: int = 1


GAUGES = (
    Row("fanmail_topics", "Topics with at least one subscription.", "topics"),
    Row("fanmail_subscriptions", "Subscriptions.", "subscriptions"),
    Row("fanmail_stored_messages", "Messages that somebody still has to read.", "messages"),
    Row("fanmail_stored_bytes", "Bodies and kept headers of the stored messages.", "content_bytes"),
    Row("fanmail_broker_memory_bytes", "Estimated memory, which the setting memory limits.", "memory_bytes"),
    Row("fanmail_broker_memory_limit_bytes", "What the setting memory allows.", "memory_limit_bytes"),
    Row("fanmail_broker_answer_bytes", "Answers that fronts have not said to have read.", "answer_bytes"),
    Row("fanmail_broker_answer_limit_bytes", "Of these, from which on no more are given.", "answer_limit_bytes"),
    Row(
        "fanmail_oldest_message_age_seconds", "Age of the oldest stored message, 0 without any.", "oldest_age_ms", 1000
    ),
    Row("fanmail_leases", "Messages that are leased.", "leases"),
    Row("fanmail_dead_letters", "Dead letters of all subscriptions.", "dead_letters"),
    Row("fanmail_dead_letter_bytes", "Their bodies and kept headers.", "dead_bytes"),
    Row("fanmail_delayed_publishes", "Publishes that wait for their time.", "delayed"),
    Row("fanmail_delayed_bytes", "Estimated memory of these, which may be a quarter of it.", "delayed_bytes"),
    Row("fanmail_held_bytes", "Estimated memory of leases and what awaits redelivery, likewise.", "held_bytes"),
    Row("fanmail_idempotency_keys", "Idempotency keys that are remembered.", "idempotency_keys"),
    Row("fanmail_broker_draining", "1 while the operator has paused the broker.", "refusing"),
    Row("fanmail_waiters", "Long polls of all fronts that are parked at the broker.", "waiters"),
)
COUNTERS = (
    Row("fanmail_messages_published", "Messages that entered the log of a topic.", "published"),
    Row("fanmail_messages_delivered", "Messages handed out, one for each user.", "delivered"),
    Row("fanmail_messages_redelivered", "Of these, under a lease not for the first time.", "redelivered"),
    Row("fanmail_messages_dead_lettered", "Messages that became dead letters.", "dead.letters"),
    Row("fanmail_leases_expired", "Leases that ended by their time.", "leases.expired"),
    Row("fanmail_subscriptions_expired", "Subscriptions that ended because nobody called.", "subscriptions.expired"),
    Row("fanmail_publishes_replayed", "Publishes that an idempotency key had seen before.", "publishes.replayed"),
    Row("fanmail_idempotency_keys_forgotten", "Keys forgotten before their time.", "keys.forgotten"),
    Row("fanmail_replies_dropped", "Replies that no front took.", "replies.dropped"),
    Row("fanmail_broker_log_lines_dropped", "Lines of its log that nobody took in time.", "log.dropped"),
)
DROPPED = ("no-subscribers", "overflow", "max-age", "ttl", "too-large", "dead", "purged", "removed", "damaged")
REJECTED: tuple[str, ...] = (
    "topic-full",
    "memory-full",
    "storage-full",
    "too-many-topics",
    "too-many-subscriptions",
    "too-many-leases",
)
REJECTED += ("broker-busy", "too-many-delayed", "expired", "no-subscription", "internal")
SKIPPED = ("ttl", "lost", "damaged")
REFUSED = ("key", "handshake", "removed", "descriptors")


class Labelled(NamedTuple):
    """A counter with a label beside `broker`: all stats that begin with `prefix`; those known are there from the
    start, so that their first increase is seen.
    """

    name: str
    text: str
    label: str
    prefix: str
    known: tuple[str, ...]


LABELLED = (
    Labelled("fanmail_messages_dropped", "Messages let go of though unread, by reason.", "reason", "dropped.", DROPPED),
    Labelled("fanmail_messages_skipped", "Messages that one user missed, by reason.", "reason", "skipped.", SKIPPED),
    Labelled("fanmail_requests_rejected", "Requests refused, by error code.", "reason", "errors.", REJECTED),
    Labelled(
        "fanmail_connections_refused",
        "Connections that were not let in, and messages of fronts that were removed, by reason.",
        "reason",
        "refused.",
        REFUSED,
    ),
)
OPERATIONS = {op.name: op.name.lower() for op in Op}


def broker_metrics(statuses: list[BrokerStatus], stats: Mapping[str, Stats]) -> Iterator[Metric]:
    """All metrics of the brokers; `stats` has those that answered."""
    up = GaugeMetricFamily("fanmail_broker_up", "Whether the broker answered this front.", labels=("broker",))
    trip = GaugeMetricFamily(
        "fanmail_broker_round_trip_seconds", "Of the last PING from this front.", labels=("broker",)
    )
    for status in statuses:
        up.add_metric((status.broker,), float(status.broker in stats))
        if status.round_trip is not None and status.broker in stats:
            trip.add_metric((status.broker,), status.round_trip)
    yield from (up, trip)
    for family, rows in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
        for row in rows:
            metric = family(row.name, row.text, labels=("broker",))
            for broker, values in stats.items():
                metric.add_metric((broker,), values.get(row.stat, 0) / row.divisor)
            yield metric
    for each in LABELLED:
        yield _labelled(each, stats)
    yield _operations(stats)
    yield _times("commit", "Of one commit of a burst, with the syncs of a durable store.", stats)
    yield _times("sync", "Of these, what a durable store waited for its disk, in a commit.", stats)


def _labelled(row: Labelled, stats: Mapping[str, Stats]) -> Metric:
    counter = CounterMetricFamily(row.name, row.text, labels=("broker", row.label))
    for broker, values in stats.items():
        found = {name.removeprefix(row.prefix): n for name, n in values.items() if name.startswith(row.prefix)}
        if row.prefix == "dropped.":  # one that was delayed found nobody when it was due
            found["no-subscribers"] = found.get("no-subscribers", 0) + values.get("delayed.unwanted", 0)
        for label, count in (dict.fromkeys(row.known, 0) | found).items():
            counter.add_metric((broker, label), count)
    return counter


def _operations(stats: Mapping[str, Stats]) -> Metric:
    counter = CounterMetricFamily(
        "fanmail_broker_operations", "Requests executed, by operation.", labels=("broker", "operation")
    )
    for broker, values in stats.items():
        for name, label in OPERATIONS.items():
            if name in values:
                counter.add_metric((broker, label), values[name])
    return counter


def _times(kind: str, text: str, stats: Mapping[str, Stats]) -> Metric:
    seconds = HistogramMetricFamily(f"fanmail_{kind}_duration_seconds", text, labels=("broker",))
    for broker, values in stats.items():
        counts = [values.get(bucket(kind, bound), 0) for bound in TIME_BOUNDS]
        counts.append(values.get(f"{kind}s", 0) - sum(counts))
        bounds = [bound / 1e6 for bound in TIME_BOUNDS]
        seconds.add_metric((broker,), cumulative(bounds, counts), values.get(f"{kind}_us", 0) / 1e6)
    return seconds
