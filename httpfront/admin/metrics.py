"""`GET /metrics`: this front and all brokers, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.broker_metrics import Stats, broker_metrics
from httpfront.admin.front_metrics import CONTENT_TYPE, Exposition, FrontMetrics, budget_metrics, gauge
from httpfront.budget import Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.params import read_parameters
from httpfront.gateway.gateway import Gateway

SCRAPE_TIMEOUT = 0.5
"""Seconds that a broker has to answer: well below those of any scrape."""


class MetricsResource:
    """Asks all brokers at once; whoever does not answer is down."""

    def __init__(
        self,
        gateway: Gateway,
        polls: LongPoll,
        metrics: FrontMetrics,
        connections: Callable[[], int],
        budget: Budget,
    ) -> None:
        """`connections` says how many are open on the public port; `budget` is what they hold."""
        self._budget = budget
        self._gateway = gateway
        self._polls = polls
        self._metrics = metrics
        self._connections = connections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        stats = broker_stats(self._gateway, SCRAPE_TIMEOUT)
        exposition = Exposition(
            self._metrics.collect,
            lambda: [
                gauge("fanmail_http_connections", "Open connections of the public port.", self._connections()),
                gauge("fanmail_http_waiters", "Long polls of this front that wait.", self._polls.waiting),
            ],
            lambda: budget_metrics(self._budget, self._gateway.under_way()),
            lambda: broker_metrics(self._gateway.statuses(), stats),
        )
        resp.content_type = CONTENT_TYPE
        resp.data = exposition.render()
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


def broker_stats(gateway: Gateway, timeout: float) -> dict[str, Stats]:
    """Gauges and counters of the brokers that answer within so many seconds."""
    answers = gateway.ask_all(Op.STATS, ops.Nothing(), timeout)
    return {broker: each.values for broker, each in answers.items() if isinstance(each, ops.Stats)}
