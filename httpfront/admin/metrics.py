"""`GET /metrics` and `GET /metrics/brokers`: this front, and all brokers, in the text format of Prometheus.

Every front has the same figures of the brokers. They have a path of their own, to be scraped once, from any front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import falcon
from prometheus_client import ProcessCollector

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.broker_metrics import broker_metrics
from httpfront.admin.exposition import CONTENT_TYPE, exposition
from httpfront.admin.front_metrics import FrontMetrics, budget_metrics, build_info, port_metrics, status_metrics
from httpfront.budget import Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.params import read_parameters
from httpfront.gateway.gateway import Gateway

SCRAPE_TIMEOUT_S = 0.5
"""How long a broker has to answer: well below the timeout of any scrape."""

_process = ProcessCollector(registry=None)


class MetricsResource:
    """The metrics of this front. No broker is asked."""

    def __init__(
        self,
        gateway: Gateway,
        polls: LongPoll,
        metrics: FrontMetrics,
        connections: Callable[[], int],
        budget: Budget,
    ) -> None:
        """Take the sources; `connections` returns the number open on the public port, `budget` has what they hold."""
        self._budget = budget
        self._gateway = gateway
        self._polls = polls
        self._metrics = metrics
        self._connections = connections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        text = exposition(
            self._metrics.collect(),
            port_metrics(self._connections(), self._polls.waiting),
            budget_metrics(self._budget, self._gateway.under_way()),
            status_metrics(self._gateway.statuses()),
            build_info(),
            _process.collect(),
        )
        _respond(resp, text)

    on_head = on_get


class BrokerMetricsResource:
    """The metrics of all brokers, which are asked at once. One that does not answer in time has no series."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        _respond(resp, exposition(broker_metrics(broker_stats(self._gateway, SCRAPE_TIMEOUT_S))))

    on_head = on_get


def broker_stats(gateway: Gateway, timeout_s: float) -> dict[str, Mapping[str, int]]:
    """Return the gauges and counters of each broker that answers in time."""
    answers = gateway.ask_all(Op.STATS, ops.Nothing(), timeout_s)
    return {broker: each.values for broker, each in answers.items() if isinstance(each, ops.Stats)}


def _respond(resp: falcon.Response, text: bytes) -> None:
    resp.content_type = CONTENT_TYPE
    resp.data = text
    resp.set_header("Cache-Control", "no-store")
