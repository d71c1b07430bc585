"""Metrics for Prometheus. prometheus-client is needed only here: `pip install 'fanmail[forward]'`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from fanmail.forward.tally import BOUNDS_S, Durations, Tally


class TallyCollector(Collector):
    """Renders the counts when it is asked, in the thread that asks."""

    def __init__(self, tallies: Sequence[Tally], durations: Durations) -> None:
        self._tallies = tallies
        self._durations = durations

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield self._counters("attempts", "outcome", "Requests to targets, by outcome.")
        yield self._counters("messages", "result", "Messages done, given back, and of leases that were lost.")
        yield self._counters("errors", "code", "Calls to Fanmail that failed for good, by code.")
        yield self._gauge("in_flight", "Requests under way.", lambda each: each.in_flight)
        yield self._gauge("failures_in_a_row", "Rounds of failures since a success.", lambda each: each.failures)
        yield self._gauge("target_gone", "1: it answered 410 and gets nothing more.", lambda each: each.gone)
        yield self._gauge("last_success_timestamp_seconds", "Time of the last 2xx.", lambda each: each.last_success)
        yield self._histogram()

    def _counters(self, name: str, label: str, text: str) -> CounterMetricFamily:
        family = CounterMetricFamily(f"fanmail_forward_{name}", text, labels=["target", label])
        for each in self._tallies:
            for value, count in dict(getattr(each, name)).items():
                family.add_metric([each.name, value], count)
        return family

    def _gauge(self, name: str, text: str, value: Callable[[Tally], float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"fanmail_forward_{name}", text, labels=["target"])
        for each in self._tallies:
            family.add_metric([each.name], value(each))
        return family

    def _histogram(self) -> HistogramMetricFamily:
        totals = accumulate(list(self._durations.counts))
        names = [*map(str, BOUNDS_S), "+Inf"]
        name, text = "fanmail_forward_attempt_duration_seconds", "Duration of requests to all targets."
        return HistogramMetricFamily(name, text, list(zip(names, totals, strict=True)), self._durations.total_s)


def serve_metrics(host: str, port: int, tallies: Sequence[Tally], durations: Durations) -> None:
    """Serve `/metrics` in threads of its own until the process ends. Raises OSError for an address in use."""
    registry = CollectorRegistry()
    registry.register(TallyCollector(tallies, durations))
    ProcessCollector(registry=registry)
    start_http_server(port, host, registry)
