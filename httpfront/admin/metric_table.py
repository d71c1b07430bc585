"""The table of a front's own metrics. Those of brokers are in `common/protocol/stats.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

M = TypeVar("M", bound=Metric)


class FrontMetric(NamedTuple):
    """One row of the table."""

    name: str
    """Without the suffix `_total` of a counter."""
    kind: Callable[..., Metric]
    """The class of the family."""
    labels: tuple[str, ...]
    help: str


_metrics: list[FrontMetric] = []


def _metric(kind: Callable[..., M], name: str, labels: tuple[str, ...], text: str) -> Callable[[], M]:
    """Add a row, and return what makes an empty family of it."""
    _metrics.append(FrontMetric(name, kind, labels, text))
    return lambda: kind(name, text, labels=labels)


_C, _G, _H = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

REQUESTS = _metric(
    _C,
    "fanmail_http_requests",
    ("route", "method", "code"),
    'Requests answered; route="none" if no call was found, method="other" for an unknown method.',
)
DURATIONS = _metric(
    _H,
    "fanmail_http_request_duration_seconds",
    ("route",),
    "From the arrival of the whole request to the answer; long polls with the time they waited, without streams.",
)
UNAUTHORIZED = _metric(
    _C,
    "fanmail_http_unauthorized",
    ("reason",),
    "Requests without a valid key (401), on both ports: no-key, other-scheme, malformed, unknown-key, wrong-secret, "
    "expired.",
)
CONNECTIONS = _metric(_G, "fanmail_http_connections", (), "Open connections of the public port.")
WAITERS = _metric(_G, "fanmail_http_waiters", (), "Long polls of this front that wait.")
STREAMS = _metric(_G, "fanmail_http_streams", (), "Open streams of this front.")
STREAM_EVENTS = _metric(
    _C, "fanmail_http_stream_events", (), "Messages and other events sent over streams, without comments."
)
STREAMS_ENDED = _metric(
    _C,
    "fanmail_http_streams_ended",
    ("reason",),
    "Streams that have ended: `client` closed; `slow`, it took nothing for `write_timeout`, or gave way to others; "
    "`end` and `error`, with that event; `draining`, `stopped`, with the front.",
)
SESSIONS = _metric(_G, "fanmail_http_sessions", (), "Open WebSocket sessions of this front.")
SESSION_OPERATIONS = _metric(
    _C,
    "fanmail_http_session_operations",
    ("operation",),
    "Operations of WebSocket clients; `invalid`: text that is none.",
)
SESSION_MESSAGES = _metric(_C, "fanmail_http_session_messages", (), "Messages sent over WebSocket sessions.")
SESSIONS_ENDED = _metric(
    _C,
    "fanmail_http_sessions_ended",
    ("reason",),
    "WebSocket sessions that have ended: `client` closed; `slow`, it took nothing for `write_timeout`, answered no "
    "ping, or gave way to others; `error`, it broke the protocol or a limit; `unauthorized`, its key; `draining`, "
    "`stopped`, with the front.",
)
LOG_LINES_DROPPED = _metric(
    _C, "fanmail_log_lines_dropped", (), "Lines of the front's log, access log included, that nobody read in time."
)
BUFFER_BYTES = _metric(
    _G, "fanmail_front_buffer_bytes", (), "Bodies and answers in flight, with the space reserved for answers."
)
BUFFER_LIMIT_BYTES = _metric(_G, "fanmail_front_buffer_limit_bytes", (), "The setting buffer_memory.")
GIVEN_WAY = _metric(
    _C, "fanmail_front_connections_given_way", (), "Connections closed to make room for the bodies of others."
)
BROKER_BYTES = _metric(
    _G,
    "fanmail_front_broker_bytes",
    ("broker", "of"),
    'In flight to a broker: of="bodies" without an answer yet, of="answers", space reserved for those to come.',
)
RESENT = _metric(
    _C,
    "fanmail_front_requests_sent_again",
    ("reason",),
    "Refusals of brokers that clients did not see: `moving`, the slot of the topic is moving to another broker; "
    "`not-owner`, it has moved.",
)
QUEUED = _metric(_G, "fanmail_front_requests_queued", (), "Requests that wait until the slot of their topic has moved.")
BROKER_UP = _metric(
    _G, "fanmail_broker_up", ("broker",), "1 while this front can send requests to the broker, 0 also while it loads."
)
ROUND_TRIP = _metric(
    _G, "fanmail_broker_round_trip_seconds", ("broker",), "Round trip of the last PING from this front."
)
CANDIDATE_UP = _metric(
    _G,
    "fanmail_candidate_up",
    ("broker", "host"),
    "1 while the candidate answers this front, as owner or standby. Replicated brokers only.",
)
CANDIDATE_OWNER = _metric(
    _G, "fanmail_candidate_owner", ("broker", "host"), "1 for the candidate that this front sends requests to."
)
BUILD_INFO = _metric(_G, "fanmail_build_info", ("version", "python"), "Always 1; the version that runs.")

FRONT_METRICS = tuple(_metrics)
