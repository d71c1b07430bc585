"""Addresses, ceilings and timeouts of one listening server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Every ceiling is the largest value that is accepted."""

    hosts: Sequence[str]
    """Addresses to listen on, or names of this host; `::` is both families."""
    port: int
    """TCP port, the same on all of them; 0 takes a free one."""
    connections: int
    """Open connections that are served; some more are answered 503."""
    backlog: int = 1024
    """Connections that the kernel may hold before they are accepted."""
    max_body: int = 1024 * 1024
    """Bytes of a decoded body; above it 413."""
    max_batch: int = 8 * 1024 * 1024
    """The same where the query asks for a batch."""
    max_headers: int = 16 * 1024
    """Bytes of request line and header fields; above it 431."""
    max_target: int = 8 * 1024
    """Bytes of the request target; above it 414."""
    request_timeout: float = 30.0
    """Seconds from a request's first byte to the end of its header section, and length of the windows in which its
    body must keep up with `min_rate`; else 408."""
    idle_timeout: float = 75.0
    """Seconds that a connection may be without a request."""
    write_timeout: float = 30.0
    """Seconds: length of the windows in which a client that reads an answer must keep up with `min_rate`; else the
    connection is reset."""
    min_rate: int = 1024
    """Bytes per second."""
