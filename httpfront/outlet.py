"""What a stream, or a WebSocket session, and its connection know of each other.

The server implements `Outlet` and `SessionOutlet`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from common.errors import FanmailError
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


class SessionOutlet(Protocol):
    """The connection of one WebSocket session."""

    account: Account
    """What the connection holds; what is received and not handled, and what is unsent, it counts by itself."""

    @property
    def unsent(self) -> int:
        """Return the bytes that the kernel has not taken yet."""

    def send(self, text: bytes) -> None:
        """Send a message at the end of this turn."""

    def send_all(self, texts: list[bytes]) -> None:
        """Send messages in order at the end of this turn; cheaper than one by one."""

    def ping(self) -> bool:
        """Send a ping; return False where nothing at all has arrived since the one before the last."""

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` once, `seconds` from now."""

    def settle(self) -> None:
        """Count anew what the connection holds, `held` of the handler too."""

    def proceed(self) -> None:
        """Read on, where the handler is not busy any more."""

    def close(self, code: int, reason: str, ended: str) -> None:
        """Send a close frame behind what is sent, and close. The handler is not called any more.

        `code` is that of RFC 6455, `ended` is for the log.
        """


class SessionHandler(Protocol):
    """The session itself. Called by the hub's loop."""

    @property
    def busy(self) -> bool:
        """Whether nothing more is to be read now."""

    @property
    def held(self) -> int:
        """Return the bytes of messages that were received and are under way."""

    def started(self) -> None:
        """Begin: the connection calls this once, before anything else."""

    def received(self, text: bytes) -> None:
        """Take a message, which may not be UTF-8."""

    def turn_over(self, more: bool) -> None:
        """Do what was put off while several messages were received; with `more`, the next turn handles others."""

    def flushed(self) -> None:
        """Continue: everything that was sent has been taken."""

    def gone(self, reason: str) -> None:
        """End: the connection is closed. `reason` is as of a stream."""

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""


BeginSession = Callable[[SessionOutlet], SessionHandler]
"""Returns the session of a handshake that is answered already; in the greenlet of the request, and must not park."""
