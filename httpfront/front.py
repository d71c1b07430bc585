"""One front: its parts, built and passed to each other, and how they start and stop together."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import asdict

from common.clock import SystemClock
from common.config import FrontSettings
from common.keys.curve import front_pair
from common.process.readiness import announce_stopping, on_hangup
from httpfront.admin.app import Observed, create_admin_app
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.api.app import create_app
from httpfront.api.parts import AppParts
from httpfront.delivery.long_poll import LongPoll
from httpfront.gateway.gateway import Gateway
from httpfront.hub import TURN_S, Hub
from httpfront.middleware.auth import Auth, KeyRing
from httpfront.middleware.cors import Origins
from httpfront.routes import Routes
from httpfront.server.access_log import AccessLog
from httpfront.server.request_summary import OnRequest, RequestSummary
from httpfront.server.server import FrontServer
from httpfront.sessions.table import SessionLimits, SessionTable
from httpfront.settings import (
    admin_options,
    host_names,
    map_loader,
    message_limits,
    most_streams,
    new_access_log,
    new_budget,
    public_options,
)
from httpfront.streams.table import StreamTable

log = logging.getLogger("fanmail.front")


class Front:
    """The loop, the gateway and both ports. Belongs to the thread that calls `run`."""

    def __init__(self, settings: FrontSettings, name: str) -> None:
        """Listen on both ports at once. `name` is that of the process in the log. Raises `StartError`."""
        self._settings = settings
        keys = front_pair(settings.curve_dir)
        load_map = map_loader(settings, keys)
        self._hub, self._budget = Hub(), new_budget(settings)
        self._gateway = Gateway(self._hub, load_map, settings.broker_timeout, keys)
        self._streams = StreamTable(self._gateway, most_streams(settings))
        self._sessions = SessionTable(self._streams, SessionLimits(settings.max_body, settings.max_name))
        self._hub.every(TURN_S, self._streams.tick)
        self._hub.every(TURN_S, self._sessions.tick)
        self._metrics = FrontMetrics()
        self._ring = KeyRing(settings.api_keys_file, SystemClock()) if settings.api_keys_file else None
        parts = AppParts(
            self._gateway,
            LongPoll(self._gateway, settings.max_wait, settings.max_waiters, settings.waiter_share),
            self._streams,
            self._sessions,
            message_limits(settings),
            settings.max_name,
            lambda: self.public.draining,
            None if self._ring is None else _auth(self._ring, self._metrics),
        )
        access_log = new_access_log(settings, name)
        self.public = self._public_server(parts, access_log)
        self.admin = self._admin_server(parts, access_log)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        self.public.run()
        self.admin.stop()
        self._gateway.close()

    def take_signals(self) -> None:
        """Handle SIGTERM and SIGINT, and SIGHUP where there are API keys to read again."""
        handlers: dict[int, Callable[[], None]] = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop}
        if self._ring is not None:
            self._hub.every(1.0, self._ring.read_clock)
            handlers[signal.SIGHUP] = on_hangup(self._ring.reload, self._stop)
        self._hub.take_signals(handlers)

    def _stop(self) -> None:
        log.info("draining", extra={"connections": self.public.open})
        self.public.drain(self._settings.drain_timeout, self._settings.drain_idle)
        self._gateway.end_waits()
        self._streams.drain(self._settings.drain_timeout)
        self._sessions.drain(self._settings.drain_timeout)
        announce_stopping()

    def _public_server(self, parts: AppParts, access_log: AccessLog | None) -> FrontServer:
        app = create_app(parts, host_names(self._settings, self._settings.host), Origins(self._settings.cors_origins))
        on_request = _counting(self._metrics, access_log)
        return FrontServer(app, public_options(self._settings), self._hub, on_request, self._budget)

    def _admin_server(self, parts: AppParts, access_log: AccessLog | None) -> FrontServer:
        observed = Observed(self._metrics, lambda: self.public.open, asdict(self._settings), self._budget)
        app = create_admin_app(parts, observed, host_names(self._settings, self._settings.ops_host))
        on_request = access_log.record if access_log else None
        return FrontServer(app, admin_options(self._settings), self._hub, on_request, self._budget)


def _auth(ring: KeyRing, metrics: FrontMetrics) -> Callable[[Routes], Auth]:
    return lambda routes: Auth(ring, routes, metrics.refused)


def _counting(metrics: FrontMetrics, access_log: AccessLog | None) -> OnRequest:
    """Return the hook of the public port's server: it counts, and logs where that is wanted."""
    if access_log is None:
        return metrics.record
    count, write = metrics.record, access_log.record

    def both(summary: RequestSummary) -> None:
        count(summary)
        write(summary)

    return both
