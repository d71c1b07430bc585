"""What a connection needs of the server that owns it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from httpfront.budget import Budget
from httpfront.hub import Hub
from httpfront.server.options import ServerOptions
from httpfront.server.parser import RequestParser


class StreamSocket(Protocol):
    """The connection of a stream, as the server sees it."""

    deadline: float
    """Monotonic seconds."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def expire(self) -> None:
        """Handle a deadline that has passed."""

    def limit_idle(self, until: float) -> None:
        """Do nothing: streams are ended by the application."""

    def close(self) -> None:
        """End the connection at once."""


class ServerContext(Protocol):
    """Implemented by `FrontServer`, which is not imported here: it makes the connections."""

    hub: Hub
    budget: Budget
    """What all connections share."""
    options: ServerOptions
    draining: bool
    """Whether every connection closes after its next answer."""
    idle_limit: float
    """Seconds that a connection may be without a request; shorter while draining."""
    kept_alive: Sequence[str]
    """Header lines of an answer after which the connection stays open."""

    new_parser: Callable[[], RequestParser]
    """Returns the parser for the next request of a connection."""

    def forget(self, fd: int) -> None:
        """Remove a connection that closes, by its descriptor."""

    def may_linger(self, fd: int) -> bool:
        """Stop counting a connection that has had its last answer; return False where too many of those are open."""

    def take_stream(self, stream: StreamSocket) -> None:
        """Serve a connection as a stream from now on; it has no deadline."""

    def watch_deadline(self, stream: StreamSocket) -> None:
        """Call `expire` of a stream's connection once its deadline has passed."""

    def forget_deadline(self, stream: StreamSocket) -> None:
        """Do not look at a stream's connection any more."""

    def report(
        self, method: str, environ: dict[str, Any], status: int, duration: float, sent: int, ended: str = ""
    ) -> None:
        """Report an answered request. `duration` in seconds, `sent` in bytes; `ended` says why a stream has ended."""
