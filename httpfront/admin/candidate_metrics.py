"""The metrics of the candidates of replicated brokers, of the table in `common/protocol/log_stats.py`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from common.protocol import log_stats
from httpfront.admin.broker_metrics import Labelled, durations, single

LABELS = ("broker", "host")


def candidate_metrics(answers: Labelled) -> Iterator[Metric]:
    """Return the metrics of candidates, by broker and host, of those that have answered."""
    for row in log_stats.LOG_STATS:
        yield single(row, LABELS, answers)
    yield durations(log_stats.APPENDS, LABELS, answers)
