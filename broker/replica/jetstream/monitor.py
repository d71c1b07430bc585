"""What only the monitoring port of a NATS server says: whether it syncs before it acknowledges, and its version."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from broker.replica.jetstream.health import HEADROOM_BYTES

PORT = 8222
"""Where the port usually is."""
TIMEOUT_S = 3.0
MOST_BYTES = 4 * 2**20
TESTED = ("2.14.6", "2.15.1")
"""Versions of the server with which the log is tested."""


class JetStreamConfig(Struct):
    """Of a server."""

    sync_interval: int = 0
    """Nanoseconds."""
    sync_always: bool = False
    max_storage: int = 0


class JetStreamState(Struct):
    """Of a server; without a configuration JetStream is off."""

    config: JetStreamConfig | None = None


class Server(Struct):
    """The answer to `/varz`."""

    server_name: str = ""
    version: str = ""
    max_payload: int = 0
    jetstream: JetStreamState = field(default_factory=JetStreamState)

    @property
    def syncs(self) -> bool:
        """Return whether it syncs before it acknowledges."""
        return self.jetstream.config is not None and self.jetstream.config.sync_always


def monitor_of(url: str) -> str:
    """Return where the monitoring port of a server usually is."""
    host = urlsplit(url).hostname or ""
    return f"http://[{host}]:{PORT}" if ":" in host else f"http://{host}:{PORT}"


def ask_monitor(monitor: str) -> Server:
    """Return what a server says. Raises `OSError` or `ValueError` that says why not."""
    try:
        with urllib.request.urlopen(f"{monitor.rstrip('/')}/varz", timeout=TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(MOST_BYTES), type=Server)
    except urllib.error.URLError as error:
        raise OSError(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (http.client.HTTPException, msgspec.MsgspecError) as error:
        raise ValueError(f"no monitoring port of NATS answers there: {error}") from None


def problems_of_server(server: Server, max_batch: int) -> tuple[str, ...]:
    """Return what is wrong with a server, in words."""
    config = server.jetstream.config
    if config is None:
        return ("JetStream is off",)
    found = []
    if not server.syncs:
        seconds = config.sync_interval / 1e9
        found.append(
            f"sync_interval is {seconds:g} s, and must be always: what was acknowledged is lost when the power fails"
        )
    least = max_batch + HEADROOM_BYTES
    if server.max_payload < least:
        found.append(f"max_payload is {server.max_payload}, and must be at least {least}")
    return tuple(found)


def remarks_of_servers(servers: list[Server]) -> tuple[str, ...]:
    """Return what is unusual, and may be right, about servers of one cluster."""
    versions = sorted({each.version for each in servers})
    found = [f"version {each} of NATS is not one of those tested: {', '.join(TESTED)}" for each in versions]
    found = [text for text, each in zip(found, versions, strict=True) if each not in TESTED]
    return (
        (*found, f"the servers have different versions: {', '.join(versions)}") if len(versions) > 1 else tuple(found)
    )
