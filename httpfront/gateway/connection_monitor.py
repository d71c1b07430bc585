"""The state of a DEALER's connection, as its monitor reports it, and connecting again after a refusal."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

from common.cluster.slots import BrokerAddress
from httpfront.hub import Hub

log = logging.getLogger("fanmail.front")

RETRY_S = 1.0
"""Time until a broker that has refused this front is tried again."""
REFUSAL_LOG_S = 60.0
"""Time between two log entries about one broker that refuses this front."""
FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class ConnectionMonitor:
    """One DEALER's connection. Belongs to the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        socket: zmq.Socket[bytes],
        address: BrokerAddress,
        made: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """Start to connect. `made` is called after each handshake, `lost` after each end of the connection."""
        self._hub = hub
        self._socket = socket
        self._address = address
        self._made = made
        self._lost = lost
        self._connect_at: float | None = None
        """When to connect again after a refusal, in monotonic seconds."""
        self._next_refusal = 0.0
        self._monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | FAILED)
        hub.watch(descriptor(self._monitor), select.EPOLLIN, lambda _: self.check())
        socket.connect(address.endpoint)

    def check(self) -> None:
        """Handle what has happened to the connection."""
        failed = 0
        while not self._monitor.closed and int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event & FAILED:
                failed = event
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                failed = 0
                self._made()
            elif event == zmq.EVENT_DISCONNECTED:
                self._lost()
        if failed and not self._monitor.closed:
            self._refused(failed, time.monotonic())

    def tick(self, now: float) -> None:
        """Check, and connect again where that is due."""
        self.check()
        if self._connect_at is not None and now >= self._connect_at:
            self._connect_at = None
            self._socket.connect(self._address.endpoint)

    def close(self) -> None:
        """Stop monitoring; the DEALER stays open."""
        self._hub.unwatch(descriptor(self._monitor))
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _refused(self, event: int, now: float) -> None:
        """Reconnect later: the broker does not know this front, or is not the one in the description.

        After some failures ZeroMQ tries again at once and forever, after others never, so retrying is done here.
        """
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and not self._address.key:
            return  # a broker that stopped during the handshake
        if self._connect_at is None:
            with suppress(zmq.ZMQError):  # ZeroMQ has given up already
                self._socket.disconnect(self._address.endpoint)
            self._connect_at = now + RETRY_S
        if now >= self._next_refusal:
            self._next_refusal = now + REFUSAL_LOG_S
            listed = event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            why = "the broker does not admit this front" if listed else "the handshake failed; check the broker's key"
            log.error("connection refused", extra={"broker": self._address.name, "why": why})


def descriptor(socket: zmq.Socket[bytes]) -> int:
    """Return the descriptor of a ZeroMQ socket."""
    return int(socket.getsockopt(zmq.FD))
