"""The connection of a stream or of a session: a client that is gone or reads nothing, and the end, once."""

from __future__ import annotations

import socket
import time
from errno import ETIMEDOUT
from typing import Any, Protocol

from httpfront.budget import Account
from httpfront.server.client_socket import ClientSocket, State
from httpfront.server.context import ServerContext
from httpfront.server.pace import unread

NOT_SENT = 128 * 1024
"""Bytes that the kernel may keep before they are on their way: what waits for a slow client waits here, and counts."""
AT_ONCE = 256 * 1024
"""Bytes offered to the kernel at once."""
CLIENT, SLOW, STOPPED = "client", "slow", "stopped"
"""Why the connection was closed."""


class EndHandler(Protocol):
    """The stream, or the session."""

    def gone(self, reason: str) -> None:
        """End: the connection is closed."""


class LastingConnection(ClientSocket):
    """Belongs to the hub's thread. Only one with unsent bytes, or that lingers, has a deadline."""

    STATUS = 200
    """The status that is reported."""
    _pending = 0
    """Bytes that are sent at the end of this turn, and not in `written` yet."""
    _out: bytes | bytearray | memoryview
    """What the kernel has not taken."""
    _handler: EndHandler | None

    def __init__(self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr)
        self.state = State.STREAMING
        self.account = account
        self.account.evict = self._too_slow
        self.written = 0
        self._delivered = 0
        """Offset at the start of the window in which the client must take something."""
        self._reason = STOPPED
        self._began = time.monotonic()
        self._about: dict[str, Any] = {}
        self._handler = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(server.options.write_timeout * 1000))

    def delivered(self) -> int:
        """Return the offset up to which the client's side has acknowledged everything."""
        return self.written - len(self._out) - unread(self._sock)

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state != State.STREAMING:
            self._close(self._reason)
            return
        delivered = self.delivered()
        if delivered <= self._delivered:
            self._too_slow()
        else:
            self._next_window(delivered)

    def limit_idle(self, until: float) -> None:
        """Do nothing: the application ends its streams and sessions itself."""

    def _next_window(self, delivered: int) -> None:
        self._delivered = delivered
        self.deadline = time.monotonic() + self.server.options.write_timeout
        self.server.watch_deadline(self)

    def _linger_seen(self) -> None:
        self._linger()
        if self.state == State.LINGERING:
            self.server.watch_deadline(self)

    def _fault(self) -> str:
        """Return `SLOW` where the kernel gave up because the client's side took nothing for too long."""
        return SLOW if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == ETIMEDOUT else ""

    def _too_slow(self) -> None:
        """End the connection of a client that reads nothing. From any greenlet."""
        if self.state != State.CLOSED:
            self._reason = SLOW
            self._reset()

    def _close(self, reason: str) -> None:
        """Close at once."""
        if self.state == State.CLOSED:
            return
        handler, self._handler = self._handler, None
        if handler is not None:
            self._report(reason)
        ClientSocket.close(self)
        if handler is not None:
            handler.gone(reason)

    def _report(self, reason: str) -> None:
        """Report the stream or session, once, at its end."""
        about, self._about = self._about, {}
        lasted, sent = time.monotonic() - self._began, self.written + self._pending
        self.server.report("GET", about, self.STATUS, lasted, sent, reason)

    def _drop(self) -> None:
        self.account.clear()
        self.account.evict = lambda: None  # it would keep this connection

    def _ended(self) -> None:
        self._close(CLIENT)
