"""The front's own metrics.

The hot path is `FrontMetrics.record`: plain numbers in dictionaries, in the loop's one thread, without the locks of
prometheus_client's own counters; they become metrics when they are scraped.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from common.process.log_queue import dropped_lines
from common.version import VERSION
from httpfront.admin import metric_table
from httpfront.admin.exposition import cumulative
from httpfront.budget import Budget
from httpfront.environ import NO_ROUTE
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.resending import Resending
from httpfront.middleware.auth import REASONS
from httpfront.server.request_summary import RequestSummary
from httpfront.sessions.table import SessionTable
from httpfront.streams.table import StreamTable

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, seconds."""
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""Methods with series of their own; clients may send any word."""
OTHER_METHOD = "other"


class FrontMetrics:
    """Counters of one front since its start."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], int] = {}
        """Answers by route, method and status, whose number is bounded by the API."""
        self._times: dict[str, Times] = {}
        """By route."""
        self._refused = dict.fromkeys(REASONS, 0)

    def refused(self, reason: str) -> None:
        """Count a request without a valid key; `reason` is one of `auth.REASONS`."""
        self._refused[reason] += 1

    def record(self, summary: RequestSummary) -> None:
        """Count an answered request; the hook of `FrontServer`."""
        route, duration = summary.route, summary.duration
        answer = (route, summary.method, summary.status)
        try:
            self._requests[answer] += 1
        except KeyError:
            self._first(answer)
        if summary.ended:
            return  # the time of a stream is none that somebody waited
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = Times()
        times.counts[bisect_left(BOUNDS, duration)] += 1
        times.total += duration

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of the requests and of the log."""
        requests = metric_table.REQUESTS()
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route or NO_ROUTE, method, str(status)), count)
        durations = metric_table.DURATIONS()
        for route, times in _merged(self._times).items():
            durations.add_metric((route,), cumulative(BOUNDS, times.counts), times.total)
        unauthorized = metric_table.UNAUTHORIZED()
        for reason, count in self._refused.items():
            unauthorized.add_metric((reason,), count)
        log_lines = metric_table.LOG_LINES_DROPPED()
        log_lines.add_metric((), dropped_lines())
        yield from (requests, durations, unauthorized, log_lines)

    def _first(self, answer: tuple[str, str, int]) -> None:
        route, method, status = answer
        known = (route or NO_ROUTE, method if method in METHODS else OTHER_METHOD, status)
        self._requests[known] = self._requests.get(known, 0) + 1


class Times:
    """Latencies of one route."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """By bucket; the last is that of values above all bounds."""
        self.total = 0.0
        """Seconds."""


def _merged(times: dict[str, Times]) -> dict[str, Times]:
    """Return the latencies by label; those without a route have the label `NO_ROUTE`."""
    by_label: dict[str, Times] = {}
    for route, each in times.items():
        sum_ = by_label.setdefault(route or NO_ROUTE, Times())
        sum_.counts = [a + b for a, b in zip(sum_.counts, each.counts, strict=True)]
        sum_.total += each.total
    return by_label


def port_metrics(connections: int, waiters: int) -> Iterator[Metric]:
    """Return the metrics of the public port: open connections, and long polls that wait."""
    yield _single(metric_table.CONNECTIONS(), connections)
    yield _single(metric_table.WAITERS(), waiters)


def stream_metrics(streams: StreamTable) -> Iterator[Metric]:
    """Return the metrics of the streams."""
    yield _single(metric_table.STREAMS(), streams.open)
    yield _single(metric_table.STREAM_EVENTS(), streams.events)
    ended = metric_table.STREAMS_ENDED()
    for reason, count in streams.ended.items():
        ended.add_metric((reason,), count)
    yield ended


def session_metrics(sessions: SessionTable) -> Iterator[Metric]:
    """Return the metrics of the WebSocket sessions."""
    yield _single(metric_table.SESSIONS(), sessions.open)
    yield _single(metric_table.SESSION_MESSAGES(), sessions.messages)
    operations = metric_table.SESSION_OPERATIONS()
    for name, count in sessions.counts().items():
        operations.add_metric((name,), count)
    ended = metric_table.SESSIONS_ENDED()
    for reason, count in sessions.ended.items():
        ended.add_metric((reason,), count)
    yield from (operations, ended)


def budget_metrics(budget: Budget, brokers: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    """Return the metrics of bytes in flight. `brokers` has the bytes of bodies, and of space for answers, by broker."""
    yield _single(metric_table.BUFFER_BYTES(), budget.used)
    yield _single(metric_table.BUFFER_LIMIT_BYTES(), budget.limit)
    yield _single(metric_table.GIVEN_WAY(), budget.evicted)
    under_way = metric_table.BROKER_BYTES()
    for broker, (bodies, answers) in brokers.items():
        under_way.add_metric((broker, "bodies"), bodies)
        under_way.add_metric((broker, "answers"), answers)
    yield under_way


def slot_metrics(resending: Resending) -> Iterator[Metric]:
    """Return the metrics of requests that wait for their slots, or were sent again."""
    again = metric_table.RESENT()
    for reason, count in resending.counts.items():
        again.add_metric((reason,), count)
    yield from (again, _single(metric_table.QUEUED(), resending.waiting))


def status_metrics(statuses: Iterable[BrokerStatus]) -> Iterator[Metric]:
    """Return what this front knows of its connections to brokers. No broker is asked."""
    up, round_trip = metric_table.BROKER_UP(), metric_table.ROUND_TRIP()
    for status in statuses:
        up.add_metric((status.broker,), float(status.up))
        if status.up and status.round_trip is not None:
            round_trip.add_metric((status.broker,), status.round_trip)
    yield from (up, round_trip)


def candidate_status_metrics(candidates: Iterable[BrokerStatus]) -> Iterator[Metric]:
    """Return what this front knows of the candidates of replicated brokers. Nobody is asked."""
    up, owner = metric_table.CANDIDATE_UP(), metric_table.CANDIDATE_OWNER()
    for status in candidates:
        up.add_metric((status.broker, status.host), float(status.up or status.standby))
        owner.add_metric((status.broker, status.host), float(status.up))
    yield from (up, owner)


def build_info() -> Iterator[Metric]:
    """Return the version of this front and of its Python."""
    info = metric_table.BUILD_INFO()
    info.add_metric((VERSION, platform.python_version()), 1)
    yield info


def _single(family: GaugeMetricFamily | CounterMetricFamily, value: float) -> Metric:
    family.add_metric((), value)
    return family
