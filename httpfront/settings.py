"""What the settings of a front mean for its parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from common.cluster.description import DescriptionFile, description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.config import FrontSettings
from common.errors import StartError
from common.keys.curve import KeyPair, check_front
from common.process.descriptors import raise_limit
from common.process.log_queue import queue_standard_error
from common.units import KIB, size_text
from httpfront.budget import Budget
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import kept_field
from httpfront.middleware.cors import Origins
from httpfront.middleware.host_names import HostNames
from httpfront.server.access_log import AccessLog
from httpfront.server.options import ServerOptions

ADMIN_CONNECTIONS = 64
"""Open connections of the operations port."""
ADMIN_BODY = 64 * KIB
"""Bytes of the largest body that the operations port takes."""
OTHER_FILES, LEAST_FILES = 1024, 192
"""Descriptors of a front beside twice its connections: as many as it may need, and the fewest that it works with."""


def map_loader(settings: FrontSettings, keys: KeyPair | None) -> Callable[[], ClusterMap | None]:
    """Return what gives the gateway its map. Raises `StartError` where brokers would not admit this front.

    A description that cannot be used, or is not there yet, can be corrected while the front runs.
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


def host_names(settings: FrontSettings, listens: Sequence[str]) -> HostNames:
    """Return the names that the port on these addresses accepts."""
    return HostNames(listens, settings.allowed_hosts, keys=bool(settings.api_keys_file))


def check_memory(settings: FrontSettings) -> None:
    """Raise `StartError` where one request could exceed its share of the memory for bodies and answers."""
    largest = max(settings.max_body, settings.max_batch, settings.max_fetch_bytes)
    if settings.buffer_memory < 4 * largest:
        raise StartError(
            f"--buffer-memory {size_text(settings.buffer_memory)} must be at least {size_text(4 * largest)}, "
            "four times the largest of --max-body, --max-batch and --max-fetch-bytes"
        )


def check_streams(settings: FrontSettings) -> None:
    """Raise `StartError` where there may be more streams than connections."""
    if settings.max_streams > settings.connections:
        raise StartError(f"--max-streams {settings.max_streams} is above --connections {settings.connections}")


def most_streams(settings: FrontSettings) -> int:
    """Return how many streams there may be; fewer than the setting where there are not enough descriptors."""
    return min(settings.max_streams or max(1, settings.connections // 2), settings.connections)


def new_budget(settings: FrontSettings) -> Budget:
    """Return the budget of bodies and answers. Raises what `check_memory` does."""
    check_memory(settings)
    return Budget(settings.buffer_memory)


def message_limits(settings: FrontSettings) -> MessageLimits:
    """Return what one request may carry."""
    return MessageLimits(
        body=settings.max_body,
        batch=settings.max_batch,
        batch_messages=settings.max_batch_messages,
        fetch=settings.max_fetch,
        fetch_bytes=settings.max_fetch_bytes,
    )


def public_options(settings: FrontSettings) -> ServerOptions:
    """Return the options of the public port."""
    return ServerOptions(
        hosts=settings.host,
        port=settings.port,
        connections=settings.connections,
        max_body=settings.max_body,
        max_batch=settings.max_batch,
        max_headers=settings.max_headers,
        max_target=settings.max_target,
        request_timeout=settings.request_timeout,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
        min_rate=settings.min_rate,
        kept_field=kept_field,
        answer_fields=Origins(settings.cors_origins).fields,
    )


def admin_options(settings: FrontSettings) -> ServerOptions:
    """Return the options of the operations port: few connections and small bodies."""
    max_body = min(settings.max_body, ADMIN_BODY)
    return replace(
        public_options(settings),
        hosts=settings.ops_host,
        port=settings.ops_port,
        connections=ADMIN_CONNECTIONS,
        answer_fields=Origins().fields,
        max_body=max_body,
        max_batch=max_body,
    )


def new_access_log(settings: FrontSettings, process: str) -> AccessLog | None:
    """Return the access log, None where it is off."""
    if not settings.access_log or settings.log_level in ("warning", "error"):
        return None
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    return AccessLog(process, text, queue_standard_error())


def servable(connections: int) -> int:
    """Return how many of these connections the limit of open files allows, after raising it as far as possible.

    Connections that linger after their last answer do not count, but are open. Raises `StartError` where it is none.
    """
    limit = raise_limit(2 * connections + OTHER_FILES)
    served = min(connections, (limit - LEAST_FILES) // 2)
    if served < 1:
        raise StartError(f"the limit of open files, {limit}, is too low: a front needs {LEAST_FILES + 2} (ulimit -n)")
    return served
