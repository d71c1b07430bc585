"""Addresses, ceilings and timeouts of one listening server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.config import FrontSettings


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
    max_body: int = FrontSettings.max_body
    """Bytes of a decoded body; above it 413."""
    max_batch: int = FrontSettings.max_batch
    """The same where the query asks for a batch."""
    max_headers: int = FrontSettings.max_headers
    """Bytes of request line and header fields; above it 431."""
    max_target: int = FrontSettings.max_target
    """Bytes of the request target; above it 414."""
    request_timeout: float = FrontSettings.request_timeout
    """Seconds from a request's first byte to the end of its header section, and length of the windows in which its
    body must keep up with `min_rate`; else 408."""
    idle_timeout: float = FrontSettings.idle_timeout
    """Seconds that a connection may be without a request."""
    write_timeout: float = FrontSettings.write_timeout
    """Seconds: length of the windows in which a client that reads an answer must keep up with `min_rate`; else the
    connection is reset."""
    min_rate: int = FrontSettings.min_rate
    """Bytes per second."""
    kept_field: Callable[[str], str | None] = lambda key: None
    """Gives the name under which a header field is stored with a message, by its key in the environment; None where it
    is not stored."""
    answer_fields: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]] = lambda environ: ()
    """Gives the header fields of a plain text answer to a request with this environment; it is empty if unknown."""
