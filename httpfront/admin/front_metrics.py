"""What a front counts of itself, and the whole of `/metrics`.

The hot path is `FrontMetrics.record`: plain numbers in dictionaries, in the loop's one thread, without the locks of
prometheus_client's own counters; they become metrics when they are asked for.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from common.process.log_queue import dropped_lines
from common.version import VERSION
from httpfront.budget import Budget
from httpfront.environ import NO_ROUTE
from httpfront.middleware.auth import REASONS
from httpfront.server.request_summary import RequestSummary

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, seconds. Long polls are answered when there is something, or at their end."""
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""Methods with a series of their own; a client may send any word."""
OTHER_METHOD = "other"


class FrontMetrics:
    """Of one front since its start."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], int] = {}
        """Answers by route, method and status; there are as many as the API has."""
        self._times: dict[str, Times] = {}
        """By route."""
        self._refused = dict.fromkeys(REASONS, 0)

    def refused(self, reason: str) -> None:
        """A request came without a key in force; `reason` is one of `auth.REASONS`."""
        self._refused[reason] += 1

    def record(self, summary: RequestSummary) -> None:
        """The hook of `FrontServer`."""
        method, route, status, duration = summary[:4]
        answer = (route, method, status)
        try:
            self._requests[answer] += 1
        except KeyError:
            self._first(answer)
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = Times()
        times.counts[bisect_left(BOUNDS, duration)] += 1
        times.total += duration

    def collect(self) -> Iterator[Metric]:
        """The metrics of the requests."""
        requests = CounterMetricFamily(
            "fanmail_http_requests", "Requests that were answered.", labels=("route", "method", "code")
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route or NO_ROUTE, method, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "fanmail_http_request_duration_seconds",
            "From the whole request's arrival to the answer; long polls with the time they waited.",
            labels=("route",),
        )
        for route, times in _merged(self._times).items():
            seconds.add_metric((route,), cumulative(BOUNDS, times.counts), times.total)
        yield seconds
        refused = CounterMetricFamily(
            "fanmail_http_unauthorized", "Requests without a key in force (401).", labels=("reason",)
        )
        for reason, count in self._refused.items():
            refused.add_metric((reason,), count)
        yield refused
        text = "Lines of this front's log that nobody took in time."
        yield CounterMetricFamily("fanmail_log_lines_dropped", text, dropped_lines())

    def _first(self, answer: tuple[str, str, int]) -> None:
        route, method, status = answer
        known = (route or NO_ROUTE, method if method in METHODS else OTHER_METHOD, status)
        self._requests[known] = self._requests.get(known, 0) + 1


class Times:
    """Latencies of one route."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """By bucket; the last is what is above all bounds."""
        self.total = 0.0
        """Seconds."""


def _merged(times: dict[str, Times]) -> dict[str, Times]:
    """With those under their label that came without a route."""
    by_label: dict[str, Times] = {}
    for route, each in times.items():
        sum_ = by_label.setdefault(route or NO_ROUTE, Times())
        sum_.counts = [a + b for a, b in zip(sum_.counts, each.counts, strict=True)]
        sum_.total += each.total
    return by_label


def cumulative(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus has them: each counts what is at most its bound."""
    labels = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(labels, map(float, accumulate(counts)), strict=True))


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value)


def budget_metrics(budget: Budget, brokers: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    """What a front has under way. `brokers` has the bytes of bodies and of room for answers of each."""
    yield gauge("fanmail_front_buffer_bytes", "Bodies and answers under way, and room for answers.", budget.used)
    yield gauge("fanmail_front_buffer_limit_bytes", "What the setting buffer_memory allows.", budget.limit)
    evicted = CounterMetricFamily("fanmail_front_connections_given_way", "Connections that made room for others.")
    evicted.add_metric((), budget.evicted)
    yield evicted
    under_way = GaugeMetricFamily(
        "fanmail_front_broker_bytes", "Bodies under way to a broker, and room for its answers.", labels=("broker", "of")
    )
    for broker, (bodies, answers) in brokers.items():
        under_way.add_metric((broker, "bodies"), bodies)
        under_way.add_metric((broker, "answers"), answers)
    yield under_way


class Exposition(Collector):
    """The parts of one scrape."""

    def __init__(self, *parts: Callable[[], Iterable[Metric]]) -> None:
        self._parts = (*parts, _build_info, _process.collect)

    def collect(self) -> Iterator[Metric]:
        """All metrics, each family once."""
        for part in self._parts:
            yield from part()

    def render(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self)


_process = ProcessCollector(registry=None)


def _build_info() -> Iterator[Metric]:
    info = GaugeMetricFamily("fanmail_build_info", "Always 1; which version runs.", labels=("version", "python"))
    info.add_metric((VERSION, platform.python_version()), 1)
    yield info
