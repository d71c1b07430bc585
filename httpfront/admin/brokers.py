"""`/-/v1/brokers` and `/-/v1/config`: the status of the brokers, and the settings of this front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import log_stats, ops
from common.protocol.ops import Op
from common.version import VERSION
from httpfront.admin.broker_metrics import Labelled
from httpfront.admin.metrics import SCRAPE_TIMEOUT_S, cluster_stats
from httpfront.formats.documents import render
from httpfront.formats.params import read_parameters
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.gateway import Gateway

MASKED = "***"
_SECRET = ("key", "secret", "token", "password")


class BrokersResource:
    """All brokers of the cluster description."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return every broker with its gauges and counters (`stats`), empty if it does not answer."""
        read_parameters(req, {})
        stats, of_candidates = cluster_stats(self._gateway, SCRAPE_TIMEOUT_S)
        candidates = self._gateway.candidates()
        slots = self._gateway.slots()
        render(
            resp,
            {
                "brokers": [
                    {
                        "id": status.broker,
                        "up": status.broker in stats,
                        "loading": status.loading,
                        "paused": (paused := bool(stats.get(status.broker, {}).get("refusing", 0))),
                        "draining": paused,  # the name of `paused` before 0.2.0
                        "slots": slots.get(status.broker, 0),
                        "round_trip": status.round_trip,
                        "stats": stats.get(status.broker, {}),
                        "candidates": [
                            _candidate(each, of_candidates) for each in candidates if each.broker == status.broker
                        ],
                    }
                    for status in self._gateway.statuses()
                ]
            },
        )

    on_head = on_get


def _candidate(status: BrokerStatus, of_candidates: Labelled) -> dict[str, Any]:
    """Return the members of one candidate; `lag` is how many entries it is behind the most advanced one."""
    mine = of_candidates.get((status.broker, status.host), {})
    seen = [values.get(log_stats.POSITION, 0) for key, values in of_candidates.items() if key[0] == status.broker]
    return {
        "host": status.host,
        "state": "owner" if status.up else "standby" if status.standby else "loading" if status.loading else "down",
        "term": status.term,
        "lag": max(seen) - mine[log_stats.POSITION] if log_stats.POSITION in mine else None,
        "round_trip": status.round_trip,
        "log": {row.name.removeprefix("log."): mine[row.name] for row in log_stats.LOG_STATS if row.name in mine},
    }


class PauseResource:
    """Pause (PUT) and resume (DELETE) a broker.

    A paused broker refuses publishes and new subscriptions, and serves everything else. A restart resumes it.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_put(self, req: falcon.Request, resp: falcon.Response, broker: bytes) -> None:
        self._tell(req, resp, broker.decode(), True)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, broker: bytes) -> None:
        self._tell(req, resp, broker.decode(), False)

    def _tell(self, req: falcon.Request, resp: falcon.Response, broker: str, on: bool) -> None:
        read_parameters(req, {})
        if broker not in self._gateway.brokers():
            raise FanmailError("no-broker", "the cluster has no broker with this id")
        answer = self._gateway.ask_all(Op.PAUSE, ops.Pause(on), 2.0, [broker])[broker]
        if isinstance(answer, FanmailError):
            raise answer
        render(resp, {"id": broker, "paused": on, "draining": on})


class ConfigResource:
    """The settings of this front."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the settings by name; values whose names suggest a secret are masked."""
        self._shown = {
            name: MASKED if value and any(word in name for word in _SECRET) else value
            for name, value in settings.items()
        }

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        render(resp, {"version": VERSION, "settings": self._shown})

    on_head = on_get
