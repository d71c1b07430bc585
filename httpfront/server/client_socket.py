"""The socket of one client connection: events, disconnect, lingering, end. Knows nothing of HTTP."""

from __future__ import annotations

import logging
import socket
import struct
import time
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP
from typing import Any

from httpfront.server.context import ServerContext
from httpfront.server.disconnect import ClientDisconnect
from httpfront.server.pace import Pace

RECEIVE_BYTES = 65536
LINGER_S, LINGER_BYTES = 2.0, 16 * 1024 * 1024
INCOMING = EPOLLIN | EPOLLRDHUP

log = logging.getLogger("fanmail.http")


class State:
    """What a connection is doing (`connection.py`)."""

    IDLE, READING, BUSY, FLUSHING, SKIPPING, LINGERING, CLOSED = range(7)


class ClientSocket:
    """Belongs to the hub's thread."""

    def __init__(self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...]) -> None:
        """`deadline` is when `expire` is due."""
        self.server = server
        self.hub = server.hub
        self._sock = sock
        self.addr = addr
        self.state = State.IDLE
        self.deadline = inf
        self._mask: int | None = None  # events asked of the hub; None when not watched
        self.disconnect = ClientDisconnect()
        self.broken = False
        """The kernel takes nothing more for the client."""
        self._pace = Pace()  # of the body that arrives, or of the answer that leaves
        self._discarded = 0

    def check_client_disconnected(self) -> bool:
        """For the application (`waitress.client_disconnected`): whether the client has sent its last byte."""
        return self.disconnect.happened

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Ends the connection at once."""
        if self.state == State.CLOSED:
            return
        self.state = State.CLOSED
        self._drop()
        self.server.forget(self._sock.fileno())
        self._unwatch()
        self._sock.close()

    def expire(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def limit_idle(self, until: float) -> None:
        """Brings the deadline of a connection without a request forward to `until`."""
        raise NotImplementedError

    def _drop(self) -> None:
        """Nothing that is held for the client is needed any more."""
        raise NotImplementedError

    def _ended(self) -> None:
        """The client has sent its last byte."""
        raise NotImplementedError

    def _react(self, events: int) -> None:
        """Something happened."""
        raise NotImplementedError

    def _handle(self, events: int) -> None:
        """What the hub saw. Events may be stale: everything tried here may find nothing to do."""
        try:
            self._react(events)
        except Exception:  # nothing a client sends may leave it hanging, or end the loop
            log.exception("a connection failed")
            self.close()

    def _keeps_up(self, left: int, window: float) -> bool:
        self.deadline = time.monotonic() + window
        return self._pace.keeps_up(left, self.server.options.min_rate * window)

    def _want(self, mask: int) -> None:
        if self._mask is None:
            self.hub.watch(self._sock.fileno(), mask, self._handle)
        elif mask != self._mask:
            self.hub.change(self._sock.fileno(), mask)
        self._mask = mask

    def _unwatch(self) -> None:
        if self._mask is not None:
            self.hub.unwatch(self._sock.fileno())
            self._mask = None

    def _take(self) -> bytes | None:
        """What the kernel has; None where there is nothing yet, or nothing more will come: then `_ended` was called."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._ended()
        return data or None

    def _send(self, data: bytes | memoryview) -> bytes | memoryview:
        """Sends what the kernel takes and returns the rest. A dead connection takes everything, and is marked."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return data
        except OSError:
            self.broken = True
            self.disconnect.notify()
            return b""
        return memoryview(data)[sent:] if sent < len(data) else b""

    def _pause(self, events: int) -> None:
        """Something came while the request is being worked on: listen for the end only."""
        if events & (EPOLLHUP | EPOLLERR):  # these cannot be masked out
            self._unwatch()
        else:
            self._want(0 if self.disconnect.happened else EPOLLRDHUP)

    def _linger(self) -> None:
        """Closes so that the client can read the last answer.

        Closing with unread input would make the kernel send a reset, which may destroy the answer on its
        way; so the input is read and dropped for a while, until the client closes too.
        """
        self._drop()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.state = State.LINGERING
        self.deadline = time.monotonic() + LINGER_S
        self._want(INCOMING)
        if not self.server.may_linger(self._sock.fileno()):
            self.close()

    def _discard(self) -> None:
        data = self._take()
        self._discarded += len(data or b"")
        if self._discarded > LINGER_BYTES:
            self.close()

    def _reset(self) -> None:
        """Ends the connection of a client that does not read."""
        # Without a reset the kernel would keep the unread rest for minutes.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
