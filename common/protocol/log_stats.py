"""The statistics of a candidate: a broker process on a replicated log. They are in its answer to STATS, beside others.

A broker without such a log has none of them. Positions are those of the log: they begin with 1, and only grow.
"""

from __future__ import annotations

from common.protocol.stats import Kind, Stat, StatHistogram

_rows: list[Stat] = []


def _gauge(name: str, metric: str, text: str, divisor: int = 1) -> str:
    _rows.append(Stat(name, Kind.GAUGE, metric, text, divisor))
    return name


def _counter(name: str, metric: str, text: str) -> str:
    _rows.append(Stat(name, Kind.COUNTER, metric, text))
    return name


TERM = _gauge("log.term", "fanmail_log_term", "Term of the owner of the log; it grows with each take-over.")
POSITION = _gauge(
    "log.position", "fanmail_log_position", "Position of the last entry that the candidate has seen."
)  # fmt: skip
APPLIED = _gauge("log.applied", "fanmail_log_applied_position", "Position that the store of the candidate has on disk.")
FIRST = _gauge("log.first", "fanmail_log_first_position", "Oldest position in the log; what is before it was purged.")
SILENCE_MS = _gauge(
    "log.silence_ms", "fanmail_log_silence_seconds", "Time since the candidate has seen an entry of the log.", 1000
)  # fmt: skip
UNDER_WAY_MS = _gauge(
    "log.under_way_ms", "fanmail_log_append_age_seconds", "Age of the append that is under way; 0 if none is.", 1000
)
CONNECTED = _gauge("log.connected", "fanmail_log_connected", "1 while the candidate is connected to the log.")
BYTES = _gauge("log.bytes", "fanmail_log_bytes", "Size of the log.")
LIMIT_BYTES = _gauge("log.limit_bytes", "fanmail_log_limit_bytes", "Maximum size of the log.")
ONE_COPY = _gauge(
    "log.one_copy", "fanmail_log_one_copy", "Owner: 1 while no standby can follow, and only one store has everything."
)
PROBLEMS = _gauge("log.problems", "fanmail_log_wrong_settings", "Settings of the stream that are wrong.")
UNPROVEN = _gauge(
    "log.unproven", "fanmail_log_unproven", "1 until bin/replica doctor has seen that NATS syncs every write."
)  # fmt: skip

TAKEOVERS = _counter("log.takeovers", "fanmail_log_takeovers", "Times that this process has become the owner.")
REFUSED = _counter("log.refused", "fanmail_log_appends_refused", "Appends refused because the log had another end.")
UNKNOWN = _counter("log.unknown", "fanmail_log_appends_unknown", "Appends without an answer within a second.")

TOPICS = "log.topics"
"""Digest of the settings of topics, for `bin/replica doctor`: all candidates should have the same. Not a metric."""

LOG_STATS = tuple(_rows)
"""All single numbers, gauges first."""
APPENDS = StatHistogram(
    "append", "fanmail_log_append_duration_seconds", "Time from an append to its acknowledgement by the log."
)
