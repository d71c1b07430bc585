"""`python -m httpfront.admin.metrics_page`: print the tables of metrics for the documents."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily

from common.protocol import log_stats, stats
from common.protocol.stats import Kind, StatFamily
from httpfront.admin.metric_table import FRONT_METRICS


def front_table() -> str:
    """Return the metrics of a front as Markdown."""
    return _table("front", _front_rows())


def broker_table() -> str:
    """Return the metrics of the brokers as Markdown; all of them have the label `broker`."""
    return _table("broker", _broker_rows())


def candidate_table() -> str:
    """Return the metrics of the candidates of replicated brokers; all have the labels `broker` and `host`."""
    return _table("candidate", _candidate_rows())


def _table(whose: str, rows: Iterator[tuple[str, str, str]]) -> str:
    labels = "labels" if whose == "front" else "more labels"
    lines = [f"| metric of a {whose} | {labels} | |", "|---|---|---|"]
    lines += [f"| `{name}` | {label} | {text} |" for name, label, text in rows]
    return "\n".join(lines) + "\n"


def _front_rows() -> Iterator[tuple[str, str, str]]:
    for row in FRONT_METRICS:
        suffix = "_total" if row.kind is CounterMetricFamily else ""
        yield row.name + suffix, ", ".join(f"`{label}`" for label in row.labels), row.help


def _broker_rows() -> Iterator[tuple[str, str, str]]:
    for row in stats.STATS:
        if row.metric:
            yield row.metric + ("_total" if row.kind is Kind.COUNTER else ""), "", row.help
    for family in stats.FAMILIES:
        yield f"{family.metric}_total", f"`{family.label}`", f"{family.help}{_meanings(family)}"
    yield f"{stats.OPERATIONS_METRIC}_total", "`operation`", stats.OPERATIONS_HELP
    for histogram in stats.HISTOGRAMS:
        yield histogram.metric, "", f"Histogram. {histogram.help}"


def _candidate_rows() -> Iterator[tuple[str, str, str]]:
    for row in log_stats.LOG_STATS:
        yield row.metric + ("_total" if row.kind is Kind.COUNTER else ""), "", row.help
    yield log_stats.APPENDS.metric, "", f"Histogram. {log_stats.APPENDS.help}"


def _meanings(family: StatFamily) -> str:
    if not any(family.values.values()):
        return ""
    return " " + "; ".join(f"`{name}`: {text}" if text else f"`{name}`" for name, text in family.values.items())


if __name__ == "__main__":
    sys.stdout.write(f"{front_table()}\n{broker_table()}\n{candidate_table()}")
