"""The connection of a stream: chunks out, nothing in, and no more than the client reads (RFC 9112, section 7.1).

    STREAMING --end--> LINGERING --client closed, or time is up--> CLOSED
    STREAMING --client gone, or too slow--> CLOSED

It takes the socket of a `Connection` over after the head of the answer. Only a connection with unsent bytes, or that
lingers, has a deadline; the server does not look at the others.
"""

from __future__ import annotations

import socket
import time
from errno import ETIMEDOUT
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP
from typing import Any

from httpfront.budget import Account
from httpfront.outlet import BeginStream, StreamHandler
from httpfront.server.client_socket import ClientSocket, State
from httpfront.server.context import ServerContext
from httpfront.server.pace import unread

NOT_SENT = 128 * 1024
"""Bytes that the kernel may keep before they are on their way: what waits for a slow client waits here, and counts."""
AT_ONCE = 256 * 1024
"""Bytes offered to the kernel at once."""
CLIENT, SLOW, STOPPED = "client", "slow", "stopped"
"""Why the connection of a stream was closed."""


class StreamConnection(ClientSocket):
    """Belongs to the hub's thread; implements `Outlet`."""

    def __init__(
        self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account, chunked: bool
    ) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr)
        self.state = State.STREAMING
        self.account = account
        self.account.evict = self._too_slow
        self.written = 0
        self._chunked = chunked
        self._out = bytearray()
        self._ending = False
        self._reason = STOPPED
        self._delivered = 0
        """Offset at the start of the window in which the client must take something."""
        self._began = time.monotonic()
        self._about: dict[str, Any] = {}
        self._handler: StreamHandler | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(server.options.write_timeout * 1000))
        self._want(EPOLLRDHUP)

    def begin(self, head: bytes, about: dict[str, Any], begin: BeginStream) -> None:
        """Send the head and start the stream. `about` is what is reported of the request."""
        self._about = about
        self._put(head)
        handler = begin(self)
        if self.state == State.STREAMING:
            self._handler = handler

    @property
    def unsent(self) -> int:
        """Return the bytes that the kernel has not taken yet."""
        return len(self._out)

    def delivered(self) -> int:
        """Return the offset up to which the client's side has acknowledged everything."""
        return self.written - len(self._out) - unread(self._sock)

    def write(self, data: bytes) -> None:
        """Send what the kernel takes now and keep the rest."""
        if data and self.state == State.STREAMING:
            self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, reason: str) -> None:
        """Close when everything is sent; `reason` is for the log."""
        if self.state != State.STREAMING:
            return
        self._handler = None
        self._report(reason)
        if self._chunked:
            self._put(b"0\r\n\r\n")
        self._ending = True
        if not self._out:
            self._linger_seen()

    def close(self) -> None:
        self._close(self._reason)

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state == State.STREAMING:
            delivered = self.delivered()
            if delivered <= self._delivered:
                self._too_slow()
                return
            self._next_window(delivered)
        else:
            self.close()

    def limit_idle(self, until: float) -> None:
        """Do nothing: the application ends its streams itself."""

    def _put(self, data: bytes) -> None:
        self.written += len(data)
        if self._out:
            self._out += data
        elif rest := self._send(data):
            self._out = bytearray(rest)
            self._next_window(self.delivered())
            self._want(EPOLLOUT | EPOLLRDHUP)
        if self._out:
            self.account.settle(len(self._out))

    def _next_window(self, delivered: int) -> None:
        self._delivered = delivered
        self.deadline = time.monotonic() + self.server.options.write_timeout
        self.server.watch_deadline(self)

    def _react(self, events: int) -> None:
        if self.state == State.LINGERING:
            self._discard()
        elif events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self._close(self._fault() or CLIENT)
        elif events & EPOLLOUT:
            self._flush()

    def _fault(self) -> str:
        """Return `SLOW` where the kernel gave up because the client's side took nothing for too long."""
        return SLOW if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == ETIMEDOUT else ""

    def _flush(self) -> None:
        piece = bytes(self._out[:AT_ONCE])
        rest = self._send(piece)
        if self.broken:
            self._close(CLIENT)
            return
        if len(rest) < len(piece):
            del self._out[: len(piece) - len(rest)]
            self.account.progress()
        if self._out:
            return
        self._out = bytearray()  # the former may have the size of a large message
        self.account.clear()
        if self._ending:
            self._linger_seen()
            return
        self.deadline = inf
        self.server.forget_deadline(self)
        self._want(EPOLLRDHUP)
        if self._handler is not None:
            self._handler.flushed()

    def _linger_seen(self) -> None:
        self._linger()
        if self.state == State.LINGERING:
            self.server.watch_deadline(self)

    def _too_slow(self) -> None:
        """End the stream of a client that reads nothing. From any greenlet."""
        if self.state != State.CLOSED:
            self._reason = SLOW
            self._reset()

    def _close(self, reason: str) -> None:
        if self.state == State.CLOSED:
            return
        handler, self._handler = self._handler, None
        if handler is not None:
            self._report(reason)
        super().close()
        if handler is not None:
            handler.gone(reason)

    def _report(self, reason: str) -> None:
        """Report the stream, once, at its end."""
        about, self._about = self._about, {}
        self.server.report("GET", about, 200, time.monotonic() - self._began, self.written, reason)

    def _drop(self) -> None:
        self._out = bytearray()
        self.account.clear()
        self.account.evict = lambda: None  # it would keep this connection

    def _ended(self) -> None:
        self.close()
