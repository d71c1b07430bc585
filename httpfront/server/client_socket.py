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

    IDLE, READING, BUSY, FLUSHING, SKIPPING, STREAMING, LINGERING, CLOSED = range(8)


class ClientSocket:
    """Belongs to the hub's thread. `expire` is called once `deadline` has passed."""

    def __init__(self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...]) -> None:
        """Wrap an accepted socket."""
        self.server = server
        self.hub = server.hub
        self._sock = sock
        self.addr = addr
        self.state = State.IDLE
        self.deadline = inf
        self._mask: int | None = None  # events asked of the hub; None when not watched
        self.disconnect = ClientDisconnect()
        self.broken = False
        """Whether nothing more can be sent to the client."""
        self._pace = Pace()  # of the body that arrives, or of the answer that is sent
        self._discarded = 0

    def check_client_disconnected(self) -> bool:
        """Return whether the client has sent its last byte (`waitress.client_disconnected`)."""
        return self.disconnect.happened

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """End the connection at once."""
        if self.state == State.CLOSED:
            return
        self.state = State.CLOSED
        self._drop()
        self.server.forget(self._sock.fileno())
        self._unwatch()
        self._sock.close()

    def give_away(self) -> socket.socket:
        """Return the socket, for another object that handles the connection from now on."""
        self._drop()
        self._unwatch()
        self.state = State.CLOSED
        return self._sock

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        raise NotImplementedError

    def limit_idle(self, until: float) -> None:
        """Bring the deadline of a connection without a request forward to `until`."""
        raise NotImplementedError

    def _drop(self) -> None:
        """Free what is held for the client."""
        raise NotImplementedError

    def _ended(self) -> None:
        """Handle the end of the client's input."""
        raise NotImplementedError

    def _react(self, events: int) -> None:
        """Handle events in the present state."""
        raise NotImplementedError

    def _handle(self, events: int) -> None:
        """Handle events of the hub. They may be stale: whatever is tried here may find nothing to do."""
        try:
            self._react(events)
        except Exception:  # nothing that a client sends may end the loop or leave its connection open
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
        """Receive what the kernel has.

        None where there is nothing yet, or nothing more will arrive: then `_ended` was called.
        """
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
        """Send what the kernel takes and return the rest.

        A broken connection takes everything, and is marked.
        """
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
        """Watch for the end only, while a request is being worked on."""
        if events & (EPOLLHUP | EPOLLERR):  # these cannot be masked out
            self._unwatch()
        else:
            self._want(0 if self.disconnect.happened else EPOLLRDHUP)

    def _linger(self) -> None:
        """Close so that the client can read the last answer.

        Closing with unread input would make the kernel send a reset, which may destroy the answer on its way. So the
        input is read and dropped for a while, until the client closes too.
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
        """End the connection of a client that does not read."""
        # Without a reset the kernel would keep the unread rest for minutes.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
