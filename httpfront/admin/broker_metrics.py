"""The metrics of brokers, made of their answers to STATS by the table in `common/protocol/stats.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from common.protocol import stats
from common.protocol.stats import Kind, Stat, StatFamily, StatHistogram
from httpfront.admin.exposition import cumulative

Answers = Mapping[str, Mapping[str, int]]
"""Gauges and counters by broker, of the brokers that have answered. The others have no series."""
Labelled = Mapping[tuple[str, ...], Mapping[str, int]]
"""The same, by values of labels."""

_FAMILIES = {Kind.GAUGE: GaugeMetricFamily, Kind.COUNTER: CounterMetricFamily}


def broker_metrics(answers: Answers) -> Iterator[Metric]:
    """Return all metrics of the brokers."""
    by_labels: Labelled = {(broker,): values for broker, values in answers.items()}
    for row in stats.STATS:
        if row.metric:
            yield single(row, ("broker",), by_labels)
    for family in stats.FAMILIES:
        yield _labelled(family, answers)
    yield _operations(answers)
    for histogram in stats.HISTOGRAMS:
        yield durations(histogram, ("broker",), by_labels)


def single(row: Stat, labels: Sequence[str], answers: Labelled) -> Metric:
    """Return the metric of one number; `answers` by the values of its labels."""
    metric: GaugeMetricFamily | CounterMetricFamily = _FAMILIES[row.kind](row.metric, row.help, labels=labels)
    for key, values in answers.items():
        metric.add_metric(key, values.get(row.name, 0) / row.divisor)
    return metric


def _labelled(family: StatFamily, answers: Answers) -> Metric:
    counter = CounterMetricFamily(family.metric, family.help, labels=("broker", family.label))
    for broker, values in answers.items():
        found = {name.removeprefix(family.prefix): n for name, n in values.items() if name.startswith(family.prefix)}
        if family is stats.DROPPED:
            unwanted = values.get(stats.DELAYED_UNWANTED, 0)
            found["no-subscribers"] = found.get("no-subscribers", 0) + unwanted
        for label, count in (dict.fromkeys(family.values, 0) | found).items():
            counter.add_metric((broker, label), count)
    return counter


def _operations(answers: Answers) -> Metric:
    counter = CounterMetricFamily(stats.OPERATIONS_METRIC, stats.OPERATIONS_HELP, labels=("broker", "operation"))
    for broker, values in answers.items():
        for name, label in stats.OPERATIONS.items():
            if name in values:
                counter.add_metric((broker, label), values[name])
    return counter


def durations(histogram: StatHistogram, labels: Sequence[str], answers: Labelled) -> Metric:
    """Return a histogram; `answers` by the values of its labels."""
    seconds = HistogramMetricFamily(histogram.metric, histogram.help, labels=labels)
    for key, values in answers.items():
        counts = [values.get(histogram.bucket(bound), 0) for bound in stats.TIME_BOUNDS_US]
        counts.append(values.get(histogram.number, 0) - sum(counts))
        bounds = [bound / 1e6 for bound in stats.TIME_BOUNDS_US]
        seconds.add_metric(key, cumulative(bounds, counts), values.get(histogram.total_us, 0) / 1e6)
    return seconds
