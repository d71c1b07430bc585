"""The connection of a stream: chunks out, nothing in, and no more than the client reads (RFC 9112, section 7.1).

    STREAMING --end--> LINGERING --client closed, or time is up--> CLOSED
    STREAMING --client gone, or too slow--> CLOSED

It takes the socket of a `Connection` over after the head of the answer. Only a connection with unsent bytes, or that
lingers, has a deadline; the server does not look at the others.
"""

from __future__ import annotations

import socket
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP
from typing import Any

from httpfront.budget import Account
from httpfront.outlet import BeginStream, StreamHandler
from httpfront.server.client_socket import State
from httpfront.server.context import ServerContext
from httpfront.server.lasting_connection import AT_ONCE, CLIENT, LastingConnection


class StreamConnection(LastingConnection):
    """Belongs to the hub's thread; implements `Outlet`."""

    _out: bytearray
    _handler: StreamHandler | None

    def __init__(
        self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account, chunked: bool
    ) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr, account)
        self._chunked = chunked
        self._out = bytearray()
        self._ending = False
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

    def _react(self, events: int) -> None:
        if self.state == State.LINGERING:
            self._discard()
        elif events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self._close(self._fault() or CLIENT)
        elif events & EPOLLOUT:
            self._flush()

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

    def _drop(self) -> None:
        self._out = bytearray()
        super()._drop()
