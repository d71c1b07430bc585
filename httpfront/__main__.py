"""`python -m httpfront`: one front process. The composition root: everything is built here and passed in."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from common import config
from common.clock import SystemClock
from common.cluster.description import DescriptionFile, description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.config import FrontSettings
from common.errors import StartError
from common.keys.curve import KeyPair, check_front, front_pair
from common.process.descriptors import raise_limit
from common.process.folders import private_dir
from common.process.front_ports import front_lock
from common.process.locks import hold_lock
from common.process.log import setup_logging
from common.process.log_queue import queue_standard_error
from common.process.readiness import announce_ready, announce_stopping, die_with_parent, on_hangup
from common.process.start import run_service
from httpfront.admin.app import create_ops_app
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.api.app import create_app
from httpfront.budget import Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.gateway.gateway import Gateway
from httpfront.hub import Hub
from httpfront.middleware.auth import Auth, KeyRing
from httpfront.middleware.host_names import HostNames, is_loopback
from httpfront.server.access_log import AccessLog
from httpfront.server.answered import Answered
from httpfront.server.server import FrontServer, OnRequest, ServerOptions

OPS_CONNECTIONS = 64
"""Open connections of the operations port."""
OTHER_FILES, LEAST_FILES = 1024, 192
"""Descriptors of a front beside twice its connections: as many as it takes, and the fewest that it can do with."""

log = logging.getLogger("fanmail.front")


def main() -> int:
    """Serves until SIGTERM or SIGINT, then drains. Raises `StartError`."""
    die_with_parent()
    settings, _ = config.load(FrontSettings, "front", sys.argv[1:])
    name = f"front-{settings.port}"
    setup_logging(settings.log_format, settings.log_level, name)
    run_dir = private_dir(settings.run_dir)
    if settings.port:
        hold_lock(front_lock(run_dir, settings.host, settings.port), settings.start_timeout)
    wanted, settings = settings.connections, replace(settings, connections=_served(settings.connections))
    pair = front_pair(settings.curve_dir)
    load_map = _map_loader(settings, pair)
    hub, budget = Hub(), _budget(settings)
    gateway = Gateway(hub, load_map, settings.broker_timeout, pair)
    access = _access_log(settings, name)
    polls = LongPoll(gateway, settings.max_wait, settings.max_waiters, settings.waiter_share)
    metrics = FrontMetrics()
    ring = KeyRing(settings.api_keys_file, SystemClock()) if settings.api_keys_file else None
    common: Any = {
        "limits": _limits(settings), "max_name": settings.max_name, "draining": lambda: server.draining,
        "auth": (lambda needs: Auth(ring, needs, metrics.refused)) if ring is not None else None,
    }  # fmt: skip
    app = create_app(gateway, polls, hosts=_host_names(settings, settings.host), **common)
    server = FrontServer(app, _options(settings), hub, _on_request(metrics, access), budget)
    ops_app = create_ops_app(
        gateway,
        polls,
        metrics,
        connections=lambda: len(server.channels),
        settings=asdict(settings),
        hosts=_host_names(settings, settings.ops_host),
        budget=budget,
        **common,
    )
    operations = FrontServer(ops_app, _ops_options(settings), hub, access.record if access else None, budget)

    def stop() -> None:
        log.info("draining", extra={"connections": len(server.channels)})
        server.drain(settings.drain_timeout, settings.drain_idle)
        gateway.end_waits()
        announce_stopping()

    if ring is not None:
        hub.every(1.0, ring.look_at_clock)
    reload = {} if ring is None else {signal.SIGHUP: on_hangup(ring.reload, stop)}
    hub.take_signals({signal.SIGTERM: stop, signal.SIGINT: stop, **reload})
    log.info("serving", extra=_where(settings, server.port, operations.port))
    _warn_of_strangers(settings)
    _warn_of_files(wanted, settings.connections)
    announce_ready()
    server.run()
    operations.shut()
    gateway.close()
    log.info("stopped")
    return 0


def _map_loader(settings: FrontSettings, keys: KeyPair | None) -> Callable[[], ClusterMap | None]:
    """What gives the gateway its map. Raises `StartError` where there are brokers that would not let this front in; a
    description that cannot be used, or is not there yet, can be mended while it runs.
    """
    path = description_path(settings)
    description = DescriptionFile(path, insecure=settings.insecure)
    try:
        present = load_cluster(path, insecure=settings.insecure)
    except StartError:
        pass
    else:
        check_front(keys, present)

    def newer() -> ClusterMap | None:
        found = description.newer()
        if found is not None:
            check_front(keys, found)
        return found

    return newer


def _host_names(settings: FrontSettings, listens: Sequence[str]) -> HostNames:
    """The names of the port on these addresses."""
    return HostNames(listens, settings.allowed_hosts, keys=bool(settings.api_keys_file))


def _where(settings: FrontSettings, port: int, ops_port: int) -> dict[str, object]:
    host, ops_host = ", ".join(settings.host), ", ".join(settings.ops_host)
    return {"host": host, "port": port, "ops_host": ops_host, "ops_port": ops_port}


def _warn_of_strangers(settings: FrontSettings) -> None:
    """Over plain HTTP beyond loopback browsers do not say which page a request comes from."""
    beyond = sorted({host for host in (*settings.host, *settings.ops_host) if not is_loopback(host)})
    if beyond and not settings.api_keys_file:
        log.warning(
            "without API keys everybody who reaches these addresses may do everything, and so may every web page that "
            "they open: over plain HTTP this front is safe only with keys (--api-keys-file)",
            extra={"addresses": ", ".join(beyond)},
        )


def _budget(settings: FrontSettings) -> Budget:
    """Raises `StartError` where a single request could be more than its share."""
    largest = max(settings.max_body, settings.max_batch, settings.max_fetch_bytes)
    if settings.buffer_memory < 4 * largest:
        raise StartError(
            f"--buffer-memory {settings.buffer_memory} must be at least {4 * largest}, four times the largest of "
            "--max-body, --max-batch and --max-fetch-bytes"
        )
    return Budget(settings.buffer_memory)


def _limits(settings: FrontSettings) -> MessageLimits:
    return MessageLimits(
        body=settings.max_body,
        batch=settings.max_batch,
        batch_messages=settings.max_batch_messages,
        fetch=settings.max_fetch,
        fetch_bytes=settings.max_fetch_bytes,
    )


def _options(settings: FrontSettings) -> ServerOptions:
    return ServerOptions(
        hosts=settings.host,
        port=settings.port,
        connections=settings.connections,
        backlog=1024,
        max_body=settings.max_body,
        max_batch=settings.max_batch,
        max_headers=settings.max_headers,
        max_target=settings.max_target,
        request_timeout=settings.request_timeout,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
        min_rate=settings.min_rate,
    )


def _ops_options(settings: FrontSettings) -> ServerOptions:
    """Of the operations port: few connections, and nothing large comes in."""
    most = min(settings.max_body, 64 * 1024)
    return replace(
        _options(settings),
        hosts=settings.ops_host,
        port=settings.ops_port,
        connections=OPS_CONNECTIONS,
        max_body=most,
        max_batch=most,
    )


def _on_request(metrics: FrontMetrics, access: AccessLog | None) -> OnRequest:
    """The hook of the public port's server: counts, and logs where that is wanted."""
    if access is None:
        return metrics.record
    count, line = metrics.record, access.record

    def both(answered: Answered) -> None:
        count(answered)
        line(answered)

    return both


def _access_log(settings: FrontSettings, name: str) -> AccessLog | None:
    if not settings.access_log or settings.log_level in ("warning", "error"):
        return None
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    return AccessLog(name, text, queue_standard_error())


def _served(connections: int) -> int:
    """How many connections can be served: so many, or fewer where the hard limit of open files allows no more. Those
    that linger after their last answer do not count, but are open. Raises `StartError` where it is none.
    """
    limit = raise_limit(2 * connections + OTHER_FILES)
    served = min(connections, (limit - LEAST_FILES) // 2)
    if served < 1:
        raise StartError(f"the limit of open files, {limit}, is too low: a front needs {LEAST_FILES + 2} (ulimit -n)")
    return served


def _warn_of_files(wanted: int, served: int) -> None:
    if served < wanted:
        needed = 2 * wanted + OTHER_FILES
        about = {"limit": raise_limit(needed), "wanted": wanted, "served": served, "needed": needed}
        log.warning("the limit of open files is too low for --connections: fewer are served", extra=about)


if __name__ == "__main__":
    run_service(main, "front")
