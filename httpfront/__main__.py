"""`python -m httpfront`: one front process. The composition root: everything is built here and passed in."""

from __future__ import annotations

import logging
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from common import config
from common.clock import SystemClock
from common.config import FrontSettings
from common.curve import KeyPair, check_front, front_pair
from common.errors import StartError
from common.log import setup_logging
from common.partition import ClusterMap, DescriptionFile, load_cluster
from common.process import (
    announce_ready,
    announce_stopping,
    description_path,
    die_with_parent,
    on_hangup,
    private_dir,
    run_main,
)
from httpfront.access import AccessLog
from httpfront.answered import Answered
from httpfront.app import create_app
from httpfront.auth import Auth, KeyRing
from httpfront.gateway import Gateway
from httpfront.host_check import is_loopback
from httpfront.hub import Hub
from httpfront.message_limits import MessageLimits
from httpfront.metrics import FrontMetrics
from httpfront.ops_app import create_ops_app
from httpfront.polling import LongPoll
from httpfront.server import FrontServer, OnRequest, ServerOptions

OPS_CONNECTIONS = 64
"""Open connections of the operations port."""

log = logging.getLogger("fanmail.front")


def main() -> int:
    """Serves until SIGTERM or SIGINT, then drains. Raises `StartError`."""
    die_with_parent()
    settings, _ = config.load(FrontSettings, "front", sys.argv[1:])
    name = f"front-{settings.port}"
    setup_logging(settings.log_format, settings.log_level, name)
    private_dir(settings.run_dir)
    _allow_descriptors(settings.connections)
    pair = front_pair(settings.curve_dir)
    load_map = _map_loader(settings, pair)
    hub = Hub()
    gateway = Gateway(hub, load_map, settings.broker_timeout, pair)
    access = _access_log(settings, name)
    polls = LongPoll(gateway, settings.max_wait, settings.max_waiters, settings.waiter_share)
    metrics = FrontMetrics()
    ring = KeyRing(settings.api_keys_file, SystemClock()) if settings.api_keys_file else None
    common: Any = {
        "limits": _limits(settings), "max_name": settings.max_name, "draining": lambda: server.draining,
        "auth": (lambda needs: Auth(ring, needs, metrics.refused)) if ring is not None else None,
    }  # fmt: skip
    app = create_app(gateway, polls, **common)
    server = FrontServer(app, _options(settings), hub, _on_request(metrics, access))
    ops_app = create_ops_app(
        gateway,
        polls,
        metrics,
        connections=lambda: len(server.channels),
        settings=asdict(settings),
        local=is_loopback(settings.ops_host),
        **common,
    )
    operations = FrontServer(ops_app, _ops_options(settings), hub, access.record if access else None)

    def stop() -> None:
        log.info("draining", extra={"connections": len(server.channels)})
        server.drain(settings.drain_timeout, settings.drain_idle)
        gateway.end_waits()
        announce_stopping()

    reload = {} if ring is None else {signal.SIGHUP: on_hangup(ring.reload, stop)}
    hub.take_signals({signal.SIGTERM: stop, signal.SIGINT: stop, **reload})
    where = {"host": settings.host, "port": server.port, "ops_host": settings.ops_host, "ops_port": operations.port}
    log.info("serving", extra=where)
    announce_ready()
    server.run()
    operations.shut()
    gateway.close()
    if access:
        access.close()
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
        host=settings.host,
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
    )


def _ops_options(settings: FrontSettings) -> ServerOptions:
    """Of the operations port: few connections, and nothing large comes in."""
    most = min(settings.max_body, 64 * 1024)
    return replace(
        _options(settings),
        host=settings.ops_host,
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
    return AccessLog(name, text)


def _allow_descriptors(connections: int) -> None:
    """Raises the soft limit of open files to what the connections need, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 1024  # those that linger after their last answer do not count, but are open
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


if __name__ == "__main__":
    run_main(main, "front")
