"""The HTTP server of a front: waitress's parser and task on our own loop."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from waitress.adjustments import Adjustments

from common.process.listeners import open_listeners
from httpfront.budget import UNBOUNDED, Budget
from httpfront.environ import KEY_ID, REQUEST_ID, ROUTE, TRACE_ID
from httpfront.hub import TURN_S, Hub
from httpfront.server.acceptor import Acceptor
from httpfront.server.connection import Connection
from httpfront.server.context import StreamSocket
from httpfront.server.fields import FieldReader
from httpfront.server.head import HeadReader
from httpfront.server.options import ServerOptions
from httpfront.server.parser import RequestParser
from httpfront.server.request_summary import OnRequest, RequestSummary
from httpfront.server.response import environ_template, kept_alive

SURPLUS = 64
"""Connections over the ceiling that are answered 503, or a tenth of the ceiling where that is more; beyond these,
connections are closed without an answer."""
HANDSHAKE_S = 0.1
"""While draining: time for handshakes in progress to end before the listening sockets are closed."""

log = logging.getLogger("fanmail.http")


class FrontServer:
    """Belongs to the hub's thread.

    `on_request` is called once for each answer, just before it is sent. What it raises is logged and changes nothing.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        options: ServerOptions,
        hub: Hub,
        on_request: OnRequest | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Listen at once. Raises `StartError` where an address cannot be listened on.

        `budget` is what all connections share; without it nothing is bounded.
        """
        self.budget = budget or Budget(UNBOUNDED)
        self.options = options
        self.hub = hub
        self.idle_limit = options.idle_timeout
        """Seconds; shorter while draining."""
        self.kept_alive: Sequence[str] = kept_alive(options.idle_timeout)
        self.draining = False
        self.connections: dict[int, Connection | StreamSocket] = {}
        """Every open connection by descriptor, but for the `streams`."""
        self.streams: dict[int, StreamSocket] = {}
        """The connections of streams that have no deadline: nothing walks over them."""
        self._leaving: set[int] = set()
        """Descriptors of those that are not served: refused, or answered for the last time."""
        self._on_request = on_request
        self._surplus = max(SURPLUS, options.connections // 10)
        self._drain_ends = self._accept_until = 0.0
        self._acceptor = Acceptor(hub, open_listeners(options.hosts, options.port, options.backlog), self._take)
        # Read by waitress's task.
        self.application = app
        self.adj = Adjustments(ident="")
        template = environ_template(self.adj, self._acceptor.port)
        heads = HeadReader(options, FieldReader(options.kept_field), template)
        self.new_parser: Callable[[], RequestParser] = partial(RequestParser, heads)
        """Returns the parser for the next request of a connection."""
        hub.every(TURN_S, self._close_overdue)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return self._acceptor.port

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._acceptor.accepting

    def run(self) -> None:
        """Serve until a drain is done."""
        self.hub.run(self._is_drained)
        self.stop()

    def stop(self) -> None:
        """Close everything at once, whatever is in progress. `run` ends with it."""
        for connection in [*self.connections.values(), *self.streams.values()]:
            connection.close()
        self._acceptor.close()

    def drain(self, timeout: float, idle: float) -> None:
        """Stop accepting and close every connection after its next answer; `run` returns when all are closed.

        Idle connections get `idle` seconds for one more request, requests in progress get `timeout` seconds. No client
        that could connect is reset.
        """
        if self.draining:
            return
        self.draining = True
        self.idle_limit = idle
        now = time.monotonic()
        self._drain_ends = now + max(timeout, HANDSHAKE_S)
        self._accept_until = now + HANDSHAKE_S
        self._acceptor.hold_back()
        for connection in list(self.connections.values()):
            connection.limit_idle(now + idle)

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self.connections) + len(self.streams)

    def take_stream(self, stream: StreamSocket) -> None:
        """Serve a connection as a stream from now on; it has no deadline."""
        self.forget_deadline(stream)

    def watch_deadline(self, stream: StreamSocket) -> None:
        """Call `expire` of a stream's connection once its deadline has passed."""
        self.streams.pop(stream.fileno(), None)
        self.connections[stream.fileno()] = stream

    def forget_deadline(self, stream: StreamSocket) -> None:
        """Do not look at a stream's connection any more."""
        self.connections.pop(stream.fileno(), None)
        self.streams[stream.fileno()] = stream

    def forget(self, fd: int) -> None:
        """Remove a connection that closes, by its descriptor."""
        self.connections.pop(fd, None)
        self.streams.pop(fd, None)
        self._leaving.discard(fd)

    def may_linger(self, fd: int) -> bool:
        """Stop counting a connection that has had its last answer; return False where too many of those are open."""
        self._leaving.add(fd)
        return len(self._leaving) <= self.options.connections + self._surplus

    def report(
        self, method: str, environ: dict[str, Any], status: int, duration: float, sent: int, ended: str = ""
    ) -> None:
        """Report an answered request to `on_request`. `duration` in seconds, `sent` in bytes.

        `ended` says why a stream has ended.
        """
        if self._on_request is None:
            return
        try:
            known = environ.get
            route, request_id = known(ROUTE, ""), known(REQUEST_ID, "")
            key, trace_id = known(KEY_ID, ""), known(TRACE_ID, "")
            self._on_request(RequestSummary(method, route, status, duration, request_id, sent, key, trace_id, ended))
        except Exception:
            log.exception("the request hook failed")

    def _is_drained(self) -> bool:
        if not self.draining:
            return False
        now = time.monotonic()
        if now < self._accept_until:
            return False
        if not self._acceptor.closed:
            self._acceptor.close_when_empty()
        return now >= self._drain_ends or not self.open

    def _close_overdue(self) -> None:
        """Close what is overdue. Walks all connections, a few times per second."""
        now = time.monotonic()
        for connection in [each for each in self.connections.values() if each.deadline <= now]:
            connection.expire()
        if not self.draining:
            self._acceptor.resume_when_due()

    def _take(self, sock: socket.socket, addr: tuple[Any, ...]) -> None:
        """Serve a new connection, or refuse it where there are too many."""
        refused = self.open - len(self._leaving) >= self.options.connections
        if refused and len(self._leaving) >= self._surplus:
            sock.close()
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[sock.fileno()] = Connection(self, sock, addr, refused)
            if refused:
                self._leaving.add(sock.fileno())
        except OSError:
            sock.close()
