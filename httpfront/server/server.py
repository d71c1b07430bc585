"""The HTTP server of a front: waitress's parser and task on our hub, with its traps closed."""

from __future__ import annotations

import ctypes
import errno
import logging
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from common.process.listeners import open_listeners
from httpfront.budget import UNBOUNDED, Budget
from httpfront.hub import TURN, Hub
from httpfront.server.answered import Answered
from httpfront.server.channel import Channel
from httpfront.server.connection import Connection
from httpfront.server.parser import StrictParser
from httpfront.server.response import kept_alive

OnRequest = Callable[[Answered], None]

ACCEPTS_PER_TURN = 128
SURPLUS = 64
"""Connections over the ceiling that are told so, or a tenth of the ceiling where that is more; beyond, they are
closed without a word."""
HANDSHAKE_SECONDS = 0.1
"""While draining: time for handshakes that have begun to end, before the listening socket is closed."""
_SO_ATTACH_FILTER = 26

log = logging.getLogger("fanmail.http")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the server may use. Every ceiling is the largest value that is accepted."""

    hosts: Sequence[str]
    """Addresses to listen on, or names of this host; `::` is both families."""
    port: int
    """TCP port, the same on all of them; 0 takes a free one."""
    connections: int
    """Open connections that are served; some more are answered 503."""
    backlog: int = 1024
    """Connections that the kernel may hold for us."""
    max_body: int = 1024 * 1024
    """Bytes of a decoded body; above it 413."""
    max_batch: int = 8 * 1024 * 1024
    """The same where the query asks for a batch."""
    max_headers: int = 16 * 1024
    """Bytes of request line and header fields; above it 431."""
    max_target: int = 8 * 1024
    """Bytes of the request target; above it 414."""
    request_timeout: float = 30.0
    """Seconds from a request's first byte until its header section is there, and windows in which its body must keep up
    with `min_rate`; else 408."""
    idle_timeout: float = 75.0
    """Seconds that a connection may be without a request."""
    write_timeout: float = 30.0
    """Seconds: windows in which a client that takes an answer must keep up with `min_rate`; else a reset."""
    min_rate: int = 1024
    """Bytes a second."""


class FrontServer(TcpWSGIServer):  # type: ignore[misc]
    """Belongs to the hub's thread.

    `on_request` is called once for each answer, just before it is sent, with what the environ's `fanmail.route`,
    `fanmail.request_id`, `fanmail.key` and `fanmail.trace_id` say. What it raises is logged and changes nothing.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        options: ServerOptions,
        hub: Hub,
        on_request: OnRequest | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Listens at once. `budget` is what all connections share; without it nothing is bounded. Raises `StartError`
        where an address cannot be listened on.
        """
        self.budget = budget or Budget(UNBOUNDED)
        self.options = options
        self.hub = hub
        self.idle_limit = options.idle_timeout
        """Seconds; shorter while draining."""
        self.kept_alive = kept_alive(options.idle_timeout)
        self.draining = False
        self.channels: dict[int, Channel] = {}
        """Every open connection by descriptor."""
        self._leaving: set[int] = set()
        """Descriptors of those that are not served: refused, or answered for the last time."""
        self._on_request = on_request
        self._surplus = max(SURPLUS, options.connections // 10)
        self._drain_ends = self._closes_at = 0.0
        self._accepting = False
        self._pause_until = 0.0
        adjustments = Adjustments(
            backlog=options.backlog,
            max_request_header_size=options.max_headers + 1,  # waitress refuses equality
            max_request_body_size=sys.maxsize,  # StrictParser limits bodies
            inbuf_overflow=sys.maxsize,  # bodies stay in memory, never in a temporary file
            ident="",
            clear_untrusted_proxy_headers=False,
        )
        self._listeners = open_listeners(options.hosts, options.port, options.backlog)
        first = self._listeners[0]  # waitress knows of this one only; which it is, makes no difference
        info = (first.family, first.type, first.proto, first.getsockname())
        super().__init__(
            app, {}, dispatcher=_NoDispatcher(), adj=adjustments, _sock=first, sockinfo=info, bind_socket=False
        )
        self._listen_again()
        hub.every(TURN, self._look)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self.effective_port)

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._accepting

    def run(self) -> None:
        """Serves until a drain is done."""
        self.hub.run(self._is_done)
        self.shut()

    def shut(self) -> None:
        """Stops at once, whatever is being worked on. `run` ends with it; a second server on a hub needs it."""
        for channel in list(self.channels.values()):
            channel.close()
        self._stop_listening()
        for listener in self._listeners[1:]:
            listener.close()
        self.close()

    def drain(self, timeout: float, idle: float) -> None:
        """Stops accepting and closes every connection after its next answer; `run` returns when all are closed.

        Connections that are idle get `idle` seconds for one more request, requests being worked on get
        `timeout` seconds. No client that could connect is reset.
        """
        if self.draining:
            return
        self.draining = True
        self.idle_limit = idle
        now = time.monotonic()
        self._drain_ends = now + max(timeout, HANDSHAKE_SECONDS)
        self._closes_at = now + HANDSHAKE_SECONDS
        for listener in self._listeners:
            _drop_new_connections(listener)
        for channel in list(self.channels.values()):
            channel.limit_idle(now + idle)

    def new_parser(self) -> StrictParser:
        """For the next request of a connection."""
        return StrictParser(self.adj, self.options)

    def forget(self, channel: Connection) -> None:
        """The channel closes."""
        self.channels.pop(channel.fileno(), None)
        self._leaving.discard(channel.fileno())

    def may_linger(self, channel: Connection) -> bool:
        """The channel has had its last answer and does not count any more; False where too many such are open."""
        self._leaving.add(channel.fileno())
        return len(self._leaving) <= self.options.connections + self._surplus

    def report(self, method: str, environ: dict[str, Any], status: int, duration: float, sent: int) -> None:
        """Tells `on_request` of an answer."""
        if self._on_request is None:
            return
        try:
            known = environ.get
            route, request_id = known("fanmail.route", ""), known("fanmail.request_id", "")
            key, trace_id = known("fanmail.key", ""), known("fanmail.trace_id", "")
            self._on_request(Answered(method, route, status, duration, request_id, sent, key, trace_id))
        except Exception:
            log.exception("the request hook failed")

    def _is_done(self) -> bool:
        if not self.draining:
            return False
        now = time.monotonic()
        if self._accepting and now >= self._closes_at:
            for listener in self._listeners:
                while self._accept_some(listener):
                    pass
            self._stop_listening()
        return now >= self._drain_ends or not (self._accepting or self.channels)

    def _look(self) -> None:
        """Closes what is overdue. Walks all connections, a few times a second."""
        now = time.monotonic()
        for channel in [each for each in self.channels.values() if each.deadline <= now]:
            channel.expire()
        if not self._accepting and not self.draining and now >= self._pause_until:
            self._listen_again()

    def _listen_again(self) -> None:
        for listener in self._listeners:
            self.hub.watch(listener.fileno(), select.EPOLLIN, partial(self._acceptable, listener))
        self._accepting = True

    def _stop_listening(self) -> None:
        if self._accepting:
            self._accepting = False
            for listener in self._listeners:
                self.hub.unwatch(listener.fileno())
        if self.draining:
            for listener in self._listeners:
                listener.close()

    def _acceptable(self, listener: socket.socket, events: int) -> None:
        self._accept_some(listener)

    def _accept_some(self, listener: socket.socket) -> bool:
        """Accepts what waits, so much a turn; whether there may be more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, addr = listener.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause_accepting(error)
                    return False
                continue  # the client has gone already
            self._take(sock, addr)
        return True

    def _pause_accepting(self, error: OSError) -> None:
        """Nothing to accept with: trying again at once would only spin."""
        log.error("cannot accept connections", extra={"reason": error.strerror})
        self._pause_until = time.monotonic() + 1.0
        if not self.draining:
            self._stop_listening()

    def _take(self, sock: socket.socket, addr: tuple[Any, ...]) -> None:
        refused = len(self.channels) - len(self._leaving) >= self.options.connections
        if refused and len(self._leaving) >= self._surplus:
            sock.close()
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.channels[sock.fileno()] = Channel(self, sock, addr, refused)
            if refused:
                self._leaving.add(sock.fileno())
        except OSError:
            sock.close()


class _NoDispatcher:
    """In the place of waitress's threads: the hub runs the requests."""


def _drop_new_connections(listener: socket.socket) -> None:
    """Lets the kernel drop new handshakes, so that closing the socket later resets nobody who got through.

    A classic BPF program that drops a SYN without ACK and passes everything else, so that a handshake under way
    can still end (Linux, socket(7)); elsewhere nothing. The packet begins with the TCP header.
    """
    if sys.platform != "linux":
        return
    steps = (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # then drop
        (0x06, 0, 0, 0xFFFFFFFF),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        log.info("new connections are not held back while draining", extra={"reason": error.strerror})
