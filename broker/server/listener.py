"""The ROUTER of a broker: its options, its endpoint, and what is received."""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import zmq

from broker.server.unix_socket import UnixSocket
from broker.server.zap import ZapAuthenticator
from common.cluster.description import is_ipv6
from common.errors import StartError
from common.keys.curve import KeyPair

HIGH_WATER = 1000
"""Messages queued per connection inside ZeroMQ: a fuse, for fronts bound their requests in flight themselves."""
MOST_PARTS = 3
"""Parts of a message that are kept, the routing id included: one more than any valid message has, so that it is
refused.
"""
HANDSHAKE_MS = 3000
"""Milliseconds that a connection has for its handshake. Until then its peer is unknown, and ZeroMQ buffers what it
sends, up to one frame of the largest size.
"""


class Listener:
    """The ROUTER socket and the rules of who may connect. Belongs to the loop's thread."""

    def __init__(self, max_frame: int, keys: KeyPair | None, fronts: Mapping[str, str]) -> None:
        """Create the socket, not bound yet.

        `max_frame` is the bytes of the largest frame that is read; ZeroMQ drops a connection that sends a larger one.
        With `keys` only `fronts`, names to public keys, may connect.
        """
        self.counters: Counter[str] = Counter()
        """The broker's counters; connections and messages that are refused are counted here."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._waiting = select.epoll()
        """Readable when a connection waits at the Unix socket."""
        self._unix_socket: UnixSocket | None = None
        self._zap = ZapAuthenticator(self._context, keys, self.counters) if keys else None
        self.socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.ROUTER_HANDOVER, 0),
            (zmq.LINGER, 500),
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, max_frame),
            (zmq.HEARTBEAT_IVL, 1000),
            (zmq.HEARTBEAT_TIMEOUT, 3000),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        ):
            self.socket.setsockopt(option, value)
        if self._zap:
            self._zap.guard(self.socket)
            self._zap.admit(fronts)

    @property
    def context(self) -> zmq.Context[zmq.Socket[bytes]]:
        """Return the ZeroMQ context, in which the loop may have further sockets, closed before `close`."""
        return self._context

    @property
    def sockets(self) -> list[zmq.Socket[bytes] | int]:
        """Return what the loop has to poll."""
        sockets: list[zmq.Socket[bytes]] = self._zap.sockets if self._zap else []
        return [self.socket, *sockets, self._waiting.fileno()]

    def bind(self, endpoint: str) -> None:
        """Listen on an endpoint. Raise `StartError`.

        The path of a Unix socket must belong to whoever holds the broker's lock.
        """
        if endpoint.startswith("ipc://"):
            self._unix_socket = UnixSocket(
                self.socket, Path(endpoint.removeprefix("ipc://")), self.counters, self._waiting
            )
            return
        self.socket.setsockopt(zmq.IPV6, int(is_ipv6(endpoint)))
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise StartError(f"cannot listen on {endpoint}: {error.strerror}") from None

    def receive(self) -> list[bytes] | None:
        """Return the next message, the routing id of its peer first; None for one that must not be answered.

        Raises `zmq.Again` when there is none.
        """
        if self._zap is None:
            return self._rest([self.socket.recv(zmq.NOBLOCK)])
        first = self.socket.recv(zmq.NOBLOCK, copy=False)  # a message is received whole or not at all
        parts = self._rest([first.bytes])
        return parts if self._zap.admits(first) else None

    def _rest(self, parts: list[bytes]) -> list[bytes]:
        """Append the other parts; those beyond any valid message are dropped, and the number of parts shows it."""
        while self.socket.getsockopt(zmq.RCVMORE):
            part = self.socket.recv(zmq.NOBLOCK)
            if len(parts) <= MOST_PARTS:
                parts.append(part)
        return parts

    def turn(self) -> None:
        """Accept or refuse those who connect. Called once per turn."""
        if self._unix_socket:
            self._unix_socket.turn()
        if self._zap:
            self._zap.turn()

    def admit(self, fronts: Mapping[str, str]) -> None:
        """Let these fronts connect and be answered from now on, and no others."""
        if self._zap:
            self._zap.admit(fronts)

    def report(self, mono: int) -> None:
        """Do the housekeeping; `mono` in microseconds of the monotonic clock."""
        if self._unix_socket:
            self._unix_socket.look(mono)
        if self._zap:
            self._zap.report(mono)

    def close(self) -> None:
        """Close all sockets. Replies that ZeroMQ has already get half a second to leave."""
        if self._unix_socket:
            self._unix_socket.close()
        self._waiting.close()
        self.socket.close(linger=500)
        if self._zap:
            self._zap.close()
        self._context.term()
