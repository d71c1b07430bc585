"""What a stream and the connection that it is sent over know of each other. The server implements `Outlet`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from httpfront.budget import Account


class Outlet(Protocol):
    """The connection of one stream. Offsets count bytes of the connection from its first one on."""

    account: Account
    """What the connection holds; what is unsent is counted by itself."""
    written: int
    """Offset of the end of what was written."""

    @property
    def unsent(self) -> int:
        """Return the bytes that the kernel has not taken yet."""

    def delivered(self) -> int:
        """Return the offset up to which the client's side has acknowledged everything."""

    def write(self, data: bytes) -> None:
        """Send what the kernel takes now and keep the rest."""

    def end(self, reason: str) -> None:
        """Close when everything is sent. The `StreamHandler` is not called any more."""


class StreamHandler(Protocol):
    """The stream itself. Called by the hub's loop, never from within a call of the `Outlet`."""

    def flushed(self) -> None:
        """Continue: everything that was written is sent."""

    def gone(self, reason: str) -> None:
        """End: the connection is closed. `reason` is `client`, `slow` or `stopped`."""


BeginStream = Callable[[Outlet], StreamHandler]
"""Starts a stream whose head is sent already; in the greenlet of the request, and must not park."""
