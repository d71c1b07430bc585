"""`GET /metrics` and `GET /metrics/brokers`: this front, and all brokers, in the text format of Prometheus.

Every front has the same figures of the brokers. They have a path of their own, to be scraped once, from any front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import falcon
from prometheus_client import ProcessCollector

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.broker_metrics import Labelled, broker_metrics
from httpfront.admin.candidate_metrics import candidate_metrics
from httpfront.admin.exposition import CONTENT_TYPE, exposition
from httpfront.admin.front_metrics import (
    FrontMetrics,
    budget_metrics,
    build_info,
    candidate_status_metrics,
    port_metrics,
    session_metrics,
    slot_metrics,
    status_metrics,
    stream_metrics,
)
from httpfront.budget import Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.params import read_parameters
from httpfront.gateway.gateway import Gateway
from httpfront.sessions.table import SessionTable
from httpfront.streams.table import StreamTable

SCRAPE_TIMEOUT_S = 0.5
"""How long a broker has to answer: well below the timeout of any scrape."""

Statistics = dict[str, Mapping[str, int]]
"""Gauges and counters by the name of what has answered."""

_process = ProcessCollector(registry=None)


class MetricsResource:
    """The metrics of this front. No broker is asked."""

    def __init__(
        self,
        gateway: Gateway,
        polls: LongPoll,
        streams: StreamTable,
        sessions: SessionTable,
        metrics: FrontMetrics,
        connections: Callable[[], int],
        budget: Budget,
    ) -> None:
        """Take the sources; `connections` returns the number open on the public port, `budget` has what they hold."""
        self._budget = budget
        self._gateway = gateway
        self._polls = polls
        self._streams = streams
        self._sessions = sessions
        self._metrics = metrics
        self._connections = connections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        text = exposition(
            self._metrics.collect(),
            port_metrics(self._connections(), self._polls.waiting),
            stream_metrics(self._streams),
            session_metrics(self._sessions),
            budget_metrics(self._budget, self._gateway.under_way()),
            slot_metrics(self._gateway.resending),
            status_metrics(self._gateway.statuses()),
            candidate_status_metrics(self._gateway.candidates()),
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
        brokers, candidates = cluster_stats(self._gateway, SCRAPE_TIMEOUT_S)
        parts = [broker_metrics(brokers)]
        if candidates:
            parts.append(candidate_metrics(candidates))
        _respond(resp, exposition(*parts))

    on_head = on_get


def cluster_stats(gateway: Gateway, timeout_s: float) -> tuple[Statistics, Labelled]:
    """Return the gauges and counters of each broker that answers in time, and of each candidate by broker and host."""
    candidates = gateway.candidates()
    if not candidates:
        return _values(gateway.ask_all(Op.STATS, ops.Nothing(), timeout_s)), {}
    found = _values(gateway.ask_candidates(Op.STATS, ops.Nothing(), timeout_s))
    owners = {each.broker: found[each.name] for each in gateway.statuses() if each.up and each.name in found}
    return owners, {(each.broker, each.host): found[each.name] for each in candidates if each.name in found}


def _values(answers: Mapping[str, Any]) -> Statistics:
    return {name: each.values for name, each in answers.items() if isinstance(each, ops.Stats)}


def _respond(resp: falcon.Response, text: bytes) -> None:
    resp.content_type = CONTENT_TYPE
    resp.data = text
    resp.set_header("Cache-Control", "no-store")
