"""The table of a broker's statistics: what the answer to STATS holds, and how it is exported to Prometheus.

Brokers count under these names, fronts export them, and the tables of metrics in `docs/operations.md` are
compared with them. Counters begin at 0 with the process of the broker. Gauges are kept up to date as things happen:
nothing is scanned for an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from common.protocol.ops import Op


class Kind(Enum):
    """How a statistic changes."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Stat(NamedTuple):
    """One number of one broker."""

    name: str
    """Key in the answer to STATS."""
    kind: Kind
    metric: str
    """Name of the metric, without the suffix `_total` of a counter; "": not exported."""
    help: str
    divisor: int = 1
    """What the number is divided by to get the unit of the metric."""


class StatFamily(NamedTuple):
    """Counters that differ in the value of one label."""

    prefix: str
    """What their keys in the answer to STATS begin with."""
    metric: str
    label: str
    help: str
    values: Mapping[str, str]
    """Values of the label, with their meaning where the name does not say it. They are exported from the start, so that
    their first increase is seen; others when they first occur.
    """

    def __call__(self, value: str) -> str:
        """Return the key of the counter with this value of the label."""
        return self.prefix + value


class StatHistogram(NamedTuple):
    """Counters that make a histogram of durations."""

    kind: str
    metric: str
    help: str

    @property
    def number(self) -> str:
        """Key of the number of durations."""
        return f"{self.kind}s"

    @property
    def total_us(self) -> str:
        """Key of their sum, microseconds."""
        return f"{self.kind}_us"

    def bucket(self, bound_us: int) -> str:
        """Return the key of the number of durations of at most `bound_us` that are in no smaller bucket."""
        return f"{self.kind}_le_us.{bound_us}"


_stats: list[Stat] = []


def _gauge(name: str, metric: str, text: str, divisor: int = 1) -> str:
    _stats.append(Stat(name, Kind.GAUGE, metric, text, divisor))
    return name


def _counter(name: str, metric: str, text: str, divisor: int = 1) -> str:
    _stats.append(Stat(name, Kind.COUNTER, metric, text, divisor))
    return name


TOPICS = _gauge("topics", "fanmail_topics", "Topics with at least one subscription.")
SUBSCRIPTIONS = _gauge("subscriptions", "fanmail_subscriptions", "Subscriptions.")
MESSAGES = _gauge("messages", "fanmail_stored_messages", "Messages that at least one subscriber has not read.")
CONTENT_BYTES = _gauge("content_bytes", "fanmail_stored_bytes", "Bodies and kept headers of the stored messages.")
OLDEST_AGE_MS = _gauge(
    "oldest_age_ms",
    "fanmail_oldest_message_age_seconds",
    "Age of the oldest stored message, to the second; 0 if none is stored.",
    1000,
)
LEASES = _gauge("leases", "fanmail_leases", "Messages that are leased.")
DEAD_LETTERS = _gauge("dead_letters", "fanmail_dead_letters", "Dead letters of all subscriptions.")
DEAD_BYTES = _gauge("dead_bytes", "fanmail_dead_letter_bytes", "Bodies and kept headers of the dead letters.")
DELAYED = _gauge("delayed", "fanmail_delayed_publishes", "Publishes that wait for their time.")
DELAYED_BYTES = _gauge(
    "delayed_bytes", "fanmail_delayed_bytes", "Estimated memory of delayed publishes, at most a quarter of memory."
)
HELD_BYTES = _gauge(
    "held_bytes",
    "fanmail_held_bytes",
    "Estimated memory of messages that are leased or await redelivery, at most a quarter of memory.",
)
IDEMPOTENCY_KEYS = _gauge("idempotency_keys", "fanmail_idempotency_keys", "Idempotency keys that are remembered.")
WAITERS = _gauge("waiters", "fanmail_waiters", "Long polls and streams of all fronts that wait at the broker.")
MEMORY_BYTES = _gauge("memory_bytes", "fanmail_broker_memory_bytes", "Estimated memory, limited by the setting memory.")
MEMORY_LIMIT_BYTES = _gauge("memory_limit_bytes", "fanmail_broker_memory_limit_bytes", "The setting memory.")
ANSWER_BYTES = _gauge(
    "answer_bytes", "fanmail_broker_answer_bytes", "Answers sent that fronts have not confirmed to have read."
)
ANSWER_LIMIT_BYTES = _gauge(
    "answer_limit_bytes",
    "fanmail_broker_answer_limit_bytes",
    "Limit of unconfirmed answers; beyond it reading is 503 broker-busy.",
)
PAUSED = _gauge("refusing", "fanmail_broker_draining", "1 while the operator has paused the broker.")
SLOTS = _gauge("slots", "fanmail_broker_slots", "Slots that the broker serves.")
SLOTS_MOVING = _gauge("slots.moving", "fanmail_broker_slots_moving", "Slots that leave the broker, or come to it.")
MOST_SCANNED = _gauge("most_looks", "", "The greatest number of entries that were scanned in one turn of the loop.")

PUBLISHED = _counter(
    "published", "fanmail_messages_published", "Messages that entered the log of a topic, each of a batch."
)
DELIVERED = _counter(
    "delivered",
    "fanmail_messages_delivered",
    "Messages delivered, once per subscriber; a repeated `?after=` counts again.",
)
REDELIVERED = _counter(
    "redelivered", "fanmail_messages_redelivered", "Deliveries under a lease, except the first of each message."
)
DEAD_LETTERED = _counter("dead.letters", "fanmail_messages_dead_lettered", "Messages that became dead letters.")
LEASES_EXPIRED = _counter("leases.expired", "fanmail_leases_expired", "Leases that ended because their time was up.")
SUBSCRIPTIONS_EXPIRED = _counter(
    "subscriptions.expired", "fanmail_subscriptions_expired", "Subscriptions that ended because they were not used."
)
REPLAYED = _counter(
    "publishes.replayed",
    "fanmail_publishes_replayed",
    "Publishes whose idempotency key was known, and which got the first answer again.",
)
KEYS_FORGOTTEN = _counter(
    "keys.forgotten",
    "fanmail_idempotency_keys_forgotten",
    "Idempotency keys forgotten before their time, to make room for others.",
)
REPLIES_DROPPED = _counter("replies.dropped", "fanmail_replies_dropped", "Replies that no front took.")
LOG_LINES_DROPPED = _counter(
    "log.dropped", "fanmail_broker_log_lines_dropped", "Lines of the broker's log that nobody read in time."
)
SLOTS_LEFT = _counter("slots.left", "fanmail_slots_moved", "Slots that have moved to another broker.")
MOVES_REFUSED = _counter(
    "moves.refused", "fanmail_slot_moves_refused", "Moves of slots that ended at their source, without a move."
)
FROZEN_US = _counter(
    "slots.frozen_us",
    "fanmail_slots_frozen_seconds",
    "Time that slots were not served because they moved, summed over the slots.",
    1_000_000,
)
DELAYED_UNWANTED = _counter(
    "delayed.unwanted", "", "Delayed messages whose topic had no subscription at their time; exported as dropped."
)

STATS = tuple(_stats)
"""All single numbers, gauges first."""

DROPPED = StatFamily(
    "dropped.",
    "fanmail_messages_dropped",
    "reason",
    "Messages deleted before all subscribers had read them.",
    {
        "no-subscribers": "the topic had no subscription",
        "overflow": "the topic was full and is set to drop the oldest",
        "max-age": "older than `max_age`",
        "ttl": "older than their `ttl`",
        "too-large": "delayed, and over a limit that was lowered since",
        "dead": "the list of dead letters was full",
        "purged": "by the operator",
        "removed": "delayed, and removed by the operator",
        "damaged": "the disk did not return what was written",
    },
)
SKIPPED = StatFamily(
    "skipped.",
    "fanmail_messages_skipped",
    "reason",
    "Messages that one subscriber missed.",
    {"ttl": "older than their `ttl`", "lost": "dropped by the topic before the subscriber read them", "damaged": ""},
)
REJECTED = StatFamily(
    "errors.",
    "fanmail_requests_rejected",
    "reason",
    "Requests refused, by error code.",
    dict.fromkeys(
        (
            *("topic-full", "memory-full", "storage-full", "too-many-topics", "too-many-subscriptions"),
            *(
                "too-many-leases",
                "broker-busy",
                "too-many-delayed",
                "paused",
                "log-stalled",
                "expired",
                "no-subscription",
                "internal",
            ),
        ),
        "",
    ),
)
REFUSED = StatFamily(
    "refused.",
    "fanmail_connections_refused",
    "reason",
    "Connections refused.",
    {
        "key": "its key is not listed",
        "handshake": "it does not know the broker's key, or does not speak the protocol, such as a port scan",
        "removed": "messages of a connection whose key is no longer listed",
        "descriptors": "on a Unix socket: too few descriptors are left",
    },
)
CONFIRMED = StatFamily(
    "confirmed.",
    "fanmail_stream_messages_confirmed",
    "by",
    "Messages of streams that are done.",
    {"client": "with `PATCH ?after=`, or the cursor of a new stream", "time": "`?confirm=SECONDS` after delivery"},
)
FAMILIES = (CONFIRMED, DROPPED, SKIPPED, REJECTED, REFUSED)
CONFIRMED_BY_CLIENT, CONFIRMED_BY_TIME = CONFIRMED("client"), CONFIRMED("time")
SKIPPED_TTL, SKIPPED_LOST, SKIPPED_DAMAGED = SKIPPED("ttl"), SKIPPED("lost"), SKIPPED("damaged")

OPERATIONS_METRIC, OPERATIONS_HELP = "fanmail_broker_operations", "Requests executed."
OPERATIONS = {op.name: op.name.lower() for op in Op}
"""Keys of the counters of executed requests, with their value of the label `operation`."""

TIME_BOUNDS_US = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
"""Upper bounds of the buckets of commits and syncs."""
COMMITS = StatHistogram(
    "commit", "fanmail_commit_duration_seconds", "Duration of a commit, with the syncs of a durable store."
)
SYNCS = StatHistogram(
    "sync",
    "fanmail_sync_duration_seconds",
    "Part of a commit that waits for the disk: every `fsync` that SQLite makes in it. Durable stores only.",
)
HISTOGRAMS = (COMMITS, SYNCS)
