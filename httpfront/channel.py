"""One client connection: what it is doing, and until when it may (RFC 9112, section 9).

    IDLE --whole request--> BUSY --answer sent--> IDLE
                              |--client slow--> FLUSHING --flushed--> IDLE
    any  --close wanted--> LINGERING --client closed, or time is up--> CLOSED

While BUSY or FLUSHING nothing is read: pipelined requests wait in the kernel, and in what came along with the
request that runs. So answers come in order, and a client that does not read holds nothing but its connection.
Why waitress's own channel is not used: docs/architecture.md.
"""

from __future__ import annotations

import logging
import socket
import time
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import TYPE_CHECKING, Any

from httpfront.body import Refusal
from httpfront.departure import Departure
from httpfront.pace import Pace, reset_at_close, unread
from httpfront.parser import StrictParser
from httpfront.task import CLOSES, CONTINUE, FrontTask, build_answer, keeps_alive, plain_answer

if TYPE_CHECKING:
    from httpfront.server import FrontServer

IDLE, BUSY, FLUSHING, LINGERING, CLOSED = range(5)

RECEIVE_BYTES = 65536
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 * 1024 * 1024
READING = EPOLLIN | EPOLLRDHUP
TIMED_OUT = Refusal(408, "Request Timeout", "the request took too long to arrive")
OVERLOADED = Refusal(503, "Service Unavailable", "too many connections")

log = logging.getLogger("fanmail.http")


class Channel:
    """A connection. Belongs to the hub's thread."""

    def __init__(self, server: FrontServer, sock: socket.socket, addr: tuple[Any, ...], refused: bool) -> None:
        """`refused`: over the ceiling; whatever it asks, the answer is 503. `deadline` is when `expire` is due."""
        self.server = server
        self._sock = sock
        self.addr = addr
        self.refused = refused
        self.state = IDLE
        self.deadline = time.monotonic() + (LINGER_SECONDS if refused else server.idle_limit)
        self._mask: int | None = None  # events asked of the hub; None when not watched
        self.departure = Departure()
        self._parser: StrictParser | None = None
        self._receiving = False  # a part of a request has arrived
        self._began = 0.0  # when the request being served had arrived
        self._data = b""  # what arrived behind the request that is BUSY
        self._out: bytes | memoryview = b""
        self._pace = Pace()  # of the body that arrives, or of the answer that leaves
        self._keep = True  # go on after what is in `_out`
        self._discarded = 0
        self._want(READING)

    def check_client_disconnected(self) -> bool:
        """For the application (`waitress.client_disconnected`): whether the client has sent its last byte."""
        return self.departure.happened

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state == IDLE and self.refused:
            self._refuse(OVERLOADED)
        elif self.state == IDLE and self._receiving:
            arrived = self._parser.body_bytes_received if self._parser else 0
            if not self._keeps_up(-arrived, self.server.options.request_timeout):
                self._refuse(TIMED_OUT)
        elif self.state == IDLE:
            self._receive()  # a request that is in the kernel already must not be lost
            if self.state == IDLE and not self._receiving:
                self._linger()
        elif self.state == FLUSHING:
            if not self._keeps_up(len(self._out) + unread(self._sock), self.server.options.write_timeout):
                reset_at_close(self._sock)
                self.close()
        elif self.state == LINGERING:
            self.close()

    def _keeps_up(self, left: int, window: float) -> bool:
        self.deadline = time.monotonic() + window
        return self._pace.keeps_up(left, self.server.options.min_rate * window)

    def limit_idle(self, until: float) -> None:
        """Brings the deadline of a connection without a request forward to `until`."""
        if self.state == IDLE and not self._receiving:
            self.deadline = min(self.deadline, until)

    def close(self) -> None:
        """Ends the connection at once."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self._parser, self._data, self._out = None, b"", b""
        self.server.forget(self)
        self._unwatch()
        self._sock.close()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def _handle(self, events: int) -> None:
        """What the hub saw. Events may be stale."""
        try:
            self._react(events)
        except Exception:  # nothing a client sends may leave it hanging, or end the loop
            log.exception("a connection failed")
            self.close()

    def _react(self, events: int) -> None:
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.departure.happens()
        if self.state == IDLE:
            self._receive()
        elif self.state == BUSY:
            self._pause(events)
        elif self.state == FLUSHING:
            self._flush()
        elif self.state == LINGERING:
            self._discard()

    def _want(self, mask: int) -> None:
        if self._mask is None:
            self.server.hub.watch(self._sock.fileno(), mask, self._handle)
        elif mask != self._mask:
            self.server.hub.change(self._sock.fileno(), mask)
        self._mask = mask

    def _unwatch(self) -> None:
        if self._mask is not None:
            self.server.hub.unwatch(self._sock.fileno())
            self._mask = None

    def _receive(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self.refused:
            self._refuse(OVERLOADED)
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Feeds the parser until a request is whole; what is behind it waits."""
        while data:
            parser = self._parser
            if parser is None:
                parser = self._parser = self.server.new_parser()
            data = data[parser.received(data) :]
            if parser.completed:
                self._whole(parser, data)
                return
            self._still_arriving(parser, expecting=not data)

    def _whole(self, parser: StrictParser, rest: bytes) -> None:
        self._receiving = False
        if parser.error:
            self._refuse(parser.error)
            return
        self._data = rest
        self.deadline = inf
        self._began = time.monotonic()
        self.state = BUSY
        self.server.hub.spawn(self._serve)

    def _still_arriving(self, parser: StrictParser, expecting: bool) -> None:
        if parser.started and not self._receiving:
            self._receiving = True
            self.deadline = self._pace.begins(0, self.server.options.request_timeout)
        if parser.expect_continue and expecting:
            parser.expect_continue = False
            if not parser.body_bytes_received and self._send(CONTINUE):
                self.close()  # nothing else was on its way: the client reads nothing

    def _pause(self, events: int) -> None:
        """Something came while the request is being worked on: listen for the end only."""
        if events & (EPOLLHUP | EPOLLERR):  # these cannot be masked out
            self._unwatch()
        else:
            self._want(0 if self.departure.happened else EPOLLRDHUP)

    def _serve(self) -> None:
        """Runs the application for the whole request; in a greenlet of its own."""
        parser = self._parser
        assert parser is not None
        answer = self._answer(parser)
        parser.close()
        if self.state != BUSY:  # closed while the request was parked
            return
        self._parser = None
        self._out = self._send(answer)
        self._sent()

    def _answer(self, parser: StrictParser) -> bytes:
        task = FrontTask(self, parser)
        keep = keeps_alive(parser.version, parser.headers.get("CONNECTION", ""))
        try:
            task.service()
            self._keep = keep and not self.server.draining
            connection = self.server.kept_alive if self._keep else CLOSES
            head_only = parser.command == "HEAD"
            answer, code = build_answer(task.status, task.response_headers, task.body, head_only, connection)
        except Exception:
            log.exception("the application failed")
            self._keep, code = False, 500
            answer = plain_answer("500 Internal Server Error", "the log says why", head_only=parser.command == "HEAD")
        self.server.report(parser.command, task.environ or {}, code, time.monotonic() - self._began, len(answer))
        return answer

    def _sent(self) -> None:
        """As much of the answer has left as the kernel takes now."""
        if self._out:
            self.state = FLUSHING
            self.deadline = self._pace.begins(len(self._out) + unread(self._sock), self.server.options.write_timeout)
            self._want(EPOLLOUT)
        else:
            self._answered()

    def _flush(self) -> None:
        self._out = self._send(self._out)
        if not self._out:
            self._answered()

    def _answered(self) -> None:
        """Everything is sent: the next request, or the end."""
        if not self._keep:
            self._linger()
            return
        self.state = IDLE
        self.deadline = time.monotonic() + self.server.idle_limit
        data, self._data = self._data, b""
        if data:
            self._parse(data)
        if self.state == IDLE:
            self._want(READING)

    def _refuse(self, error: Any) -> None:
        """Answers without the application, and closes."""
        method = getattr(self._parser, "command", "")
        retry_after = 1 if error.code == 503 else None
        answer = plain_answer(f"{error.code} {error.reason}", str(error.body), retry_after, method == "HEAD")
        self.server.report(method, {}, error.code, 0.0, len(answer))
        self._keep = False
        self._out = self._send(answer)
        self._sent()

    def _linger(self) -> None:
        """Closes so that the client can read the last answer: closing with unread input would make the kernel send a
        reset, which may destroy the answer on its way; so the input is read and dropped until the client closes too.
        """
        self._parser, self._data = None, b""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.state = LINGERING
        self.deadline = time.monotonic() + LINGER_SECONDS
        self._want(READING)
        if not self.server.may_linger(self):
            self.close()

    def _discard(self) -> None:
        try:
            count = len(self._sock.recv(RECEIVE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._discarded += count
        if not count or self._discarded > LINGER_BYTES:
            self.close()

    def _send(self, data: bytes | memoryview) -> bytes | memoryview:
        """Sends what the kernel takes and returns the rest. A dead connection takes everything, and is marked."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return data
        except OSError:
            self._keep = False
            self.departure.happens()
            return b""
        return memoryview(data)[sent:] if sent < len(data) else b""
