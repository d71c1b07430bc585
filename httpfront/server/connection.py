"""One client connection: its states and deadlines (RFC 9112, section 9).

    IDLE --head, or whole request--> BUSY --answer sent--> IDLE
                  BUSY --body asked for--> READING --body whole--> BUSY
                  BUSY --client slow--> FLUSHING --flushed--> IDLE
                  BUSY --answered, body not whole--> SKIPPING --body passed--> IDLE
    any  --close wanted--> LINGERING --client closed, or time is up--> CLOSED

The application runs as soon as the head is there, so key, path and parameters are checked before a body is kept or
asked for (`Expect: 100-continue`); a body that it does not read is dropped. While BUSY or FLUSHING nothing is read:
pipelined requests wait in the kernel, and in what arrived with the present request. So answers are in order. What the
connection holds is counted (`budget.py`); it may be evicted while it is READING or FLUSHING.
"""

from __future__ import annotations

import logging
import socket
import time
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP
from typing import Any

from httpfront.budget import Account
from httpfront.server.body import Refusal
from httpfront.server.body_stream import BodyRefused, BodyStream, Fault, evicted_error
from httpfront.server.client_socket import INCOMING, LINGER_S, ClientSocket, State
from httpfront.server.context import ServerContext
from httpfront.server.hand_over import hand_over
from httpfront.server.pace import unread
from httpfront.server.parser import RequestParser
from httpfront.server.response import CLOSES, CONTINUE, FrontTask, failure_answer, keeps_alive, refusal_answer

TIMED_OUT = Refusal(408, "Request Timeout", "the request took too long to arrive")
OVERLOADED = Refusal(503, "Service Unavailable", "too many connections")

log = logging.getLogger("fanmail.http")


class Connection(ClientSocket):
    """Belongs to the hub's thread."""

    def __init__(self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], refused: bool) -> None:
        """Start to read. A `refused` connection is over the limit: its first request is answered 503."""
        super().__init__(server, sock, addr)
        self.refused = refused
        self.deadline = time.monotonic() + (LINGER_S if refused else server.idle_limit)
        self._parser: RequestParser | None = None
        self._receiving = False  # part of a request has arrived
        self._body_due = inf  # when the whole request must have arrived
        self._stream: BodyStream | None = None
        self.account = Account(server.budget, self._evict)
        self._began = 0.0  # when the request being served had arrived
        self._data = b""  # what arrived behind the present request
        self._out: bytes | memoryview = b""
        self._keep = True  # keep the connection open after what is in `_out`
        self._last = False  # what was pipelined behind a request could not be kept
        self._want(INCOMING)

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state == State.IDLE and (self.refused or self._receiving):
            self._refuse(OVERLOADED if self.refused else TIMED_OUT)
        elif self.state == State.IDLE:
            self._receive()  # a request that the kernel has already must not be lost
            if self.state == State.IDLE and not self._receiving:
                self._linger()
        elif self.state == State.READING and self._parser is not None:
            if not self._keeps_up(-self._parser.body_bytes_received, self.server.options.request_timeout):
                self._body_over(BodyRefused(TIMED_OUT))
        elif self.state == State.FLUSHING:
            if not self._keeps_up(len(self._out) + unread(self._sock), self.server.options.write_timeout):
                self._reset()
        elif self.state == State.SKIPPING:
            self._linger()
        elif self.state == State.LINGERING:
            self.close()

    def limit_idle(self, until: float) -> None:
        """Bring the deadline of a connection without a request forward to `until`."""
        if self.state == State.IDLE and not self._receiving:
            self.deadline = min(self.deadline, until)

    def _drop(self) -> None:
        self._parser, self._data, self._out = None, b"", b""
        if self._stream is not None:
            self._stream.abandon(BodyRefused(None))
            self._stream = None
        self.account.clear()
        self.account.evict = lambda: None  # it would keep this connection

    def _react(self, events: int) -> None:
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.disconnect.notify()
        if self.state == State.BUSY:
            self._pause(events)
        elif self.state in _REACTIONS:
            _REACTIONS[self.state](self)

    def _receive(self) -> None:
        data = self._take()
        if data and self.refused:
            self._refuse(OVERLOADED)
        elif data:
            self._parse(data)

    def _ended(self) -> None:
        if self.state == State.READING:
            self.disconnect.notify()
            self._body_over(BodyRefused(None))
        else:
            self.close()

    def _parse(self, data: bytes) -> None:
        """Feed the parser until a request can be worked on; keep what is behind it."""
        while data:
            parser = self._parser = self._parser or self.server.new_parser()
            data = data[parser.received(data) :]
            if parser.completed:
                self._put_aside(data)
                self._work(parser)
                return
            if parser.started and not self._receiving:
                self._receiving = True
                self.deadline = time.monotonic() + self.server.options.request_timeout
        if self._parser is not None and self._parser.headers_finished:
            self._work(self._parser)

    def _work(self, parser: RequestParser) -> None:
        """Start the application, or refuse the request."""
        self._receiving = False
        if parser.error:
            self._refuse(parser.error)
            return
        self._body_due, self.deadline = self.deadline, inf
        self._began = time.monotonic()
        self.state = State.BUSY
        self._stream = BodyStream(self, parser) if parser.body_rcv is not None else None
        self.hub.spawn(self._serve)

    def _put_aside(self, rest: bytes) -> None:
        """Keep what arrived behind a request, or close after the answer where there is no room for it."""
        if rest and not self.account.hold_pipelined(len(rest)):
            rest, self._last = b"", True
        self._data = rest

    def wants_body(self) -> bool:
        """Start to read the rest of the body; return False where the client is gone or cannot be told."""
        parser = self._parser
        if parser is None or self.state != State.BUSY:
            return False
        if parser.expect_continue:
            parser.expect_continue = False
            if not parser.body_bytes_received and self._send(CONTINUE):
                return False  # nothing else was being sent: the client reads nothing
        self.state = State.READING
        self.deadline = self._pace.begin(-parser.body_bytes_received, self.server.options.request_timeout)
        self._want(INCOMING)
        return True

    def _receive_body(self) -> None:
        data = self._take()
        rest = self._stream.received(data) if data and self._stream is not None else None
        if rest is not None:
            self._put_aside(rest)
            self._began = time.monotonic()
            self._body_over()

    def _body_over(self, fault: Fault | None = None) -> None:
        self.state, self.deadline = State.BUSY, inf
        if self._stream is not None:
            self._stream.resume(fault)

    def _evict(self) -> None:
        """Make room for others. From any greenlet."""
        if self.state == State.FLUSHING:
            self._reset()
        elif self._stream is not None and self.state in (State.READING, State.BUSY):
            self.state, self.deadline = State.BUSY, inf
            self._stream.abandon(evicted_error())

    def _skip(self) -> None:
        """Read and drop the rest of a body that the application did not want."""
        data, parser = self._take(), self._parser
        if data is None or parser is None:
            return
        rest = data[parser.received(data) :]
        if parser.error:
            self._linger()
        elif parser.completed:
            self._data = rest
            self._next()

    def _serve(self) -> None:
        """Run the application for a request; in a greenlet of its own."""
        parser = self._parser
        if parser is None:  # closed before it was started
            return
        answer = self._answer(parser)
        if answer is None or self.state != State.BUSY:  # refused, or closed while the request was parked
            self.account.release()
            return
        if parser.completed:
            self._parser = None
        else:
            parser.body.drop()
        self._stream = None
        self._out = answer
        self.hub.end_turn_with(self._deliver)

    def _deliver(self) -> None:
        """Send the answer, at the end of the turn: sent one after the other, answers cost less of the kernel's time."""
        if self.state != State.BUSY:  # closed in the meantime
            return
        size, self._out = len(self._out), self._send(self._out)
        if not self._out:
            self._answered()
            return
        self.state = State.FLUSHING
        self.deadline = self._pace.begin(len(self._out) + unread(self._sock), self.server.options.write_timeout)
        self._want(EPOLLOUT)
        self.account.settle(size)

    def _answer(self, parser: RequestParser) -> bytes | None:
        """Return the answer, None where there is none: the request was refused, or the client is gone."""
        task = FrontTask(self, parser, self._stream)
        try:
            task.service()
            # A client that got no 100 (Continue) may or may not send its body.
            self._keep = not (self._last or self.server.draining or parser.expect_continue)
            if self._keep and (parser.version != "1.1" or "HTTP_CONNECTION" in parser.environ):
                self._keep = keeps_alive(parser.version, parser.environ.get("HTTP_CONNECTION", ""))
            if self.state == State.BUSY and hand_over(self, self.account, parser, task, self._data):
                return None
            answer, code = task.answer(self.server.kept_alive if self._keep else CLOSES)
        except BodyRefused as end:
            if end.refusal is None:
                self.close()
            else:
                self._refuse(end.refusal)
            return None
        except Exception:
            log.exception("the application failed")
            self._keep, code = False, 500
            answer = failure_answer(parser.command, self.server.options.answer_fields(task.environ))
        finally:
            task.release()
        self.server.report(parser.command, task.environ, code, time.monotonic() - self._began, len(answer))
        return answer

    def _flush(self) -> None:
        left = len(self._out)
        self._out = self._send(self._out)
        if not self._out:
            self._answered()
        elif len(self._out) < left:
            self.account.progress()

    def _answered(self) -> None:
        """Continue after the whole answer: with the rest of the request, the next one, or the end."""
        self.account.clear()
        parser = self._parser
        if parser is None or parser.completed or parser.expect_continue:
            self._next()
        else:
            self.state, self.deadline = State.SKIPPING, self._body_due
            self._want(INCOMING)

    def _next(self) -> None:
        self._parser = None
        if not self._keep or self.broken:
            self._linger()
            return
        self.state = State.IDLE
        self.deadline = time.monotonic() + self.server.idle_limit
        if self._data:
            data, self._data = self._data, b""
            self._parse(data)
        if self.state == State.IDLE and self._mask != INCOMING:
            self._want(INCOMING)

    def _refuse(self, error: Any) -> None:
        """Answer without the application, and close."""
        method = getattr(self._parser, "command", "")
        answer = refusal_answer(error, method, self.server.options.answer_fields(getattr(self._parser, "environ", {})))
        self.server.report(method, {}, error.code, 0.0, len(answer))
        self._keep, self._parser, self._stream = False, None, None
        self.state, self._out = State.BUSY, answer
        self._deliver()


_REACTIONS = {
    State.IDLE: Connection._receive,
    State.READING: Connection._receive_body,
    State.FLUSHING: Connection._flush,
    State.SKIPPING: Connection._skip,
    State.LINGERING: Connection._discard,
}
