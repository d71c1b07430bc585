"""The connection of a WebSocket session: frames in and out (RFC 6455), both bounded.

    STREAMING --close frame sent--> LINGERING --client closed, or time is up--> CLOSED
    STREAMING --client gone, or too slow--> CLOSED

It takes the socket of a `Connection` over after the handshake. It is read only while its handler is not busy and little
is unsent, and handles a bounded number of messages per turn, so that one client cannot starve the others. What is sent
within a turn leaves in one piece at its end.
"""

from __future__ import annotations

import logging
import socket
import time
from errno import ETIMEDOUT
from math import inf
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Any

from common.errors import FanmailError
from httpfront.budget import Account
from httpfront.outlet import BeginSession, SessionHandler
from httpfront.server.client_socket import INCOMING, ClientSocket, State
from httpfront.server.context import ServerContext
from httpfront.server.pace import unread
from httpfront.server.stream_connection import AT_ONCE, CLIENT, NOT_SENT, SLOW, STOPPED
from httpfront.server.websocket_frames import (
    INTERNAL,
    PING,
    PONG,
    TEXT,
    TRY_LATER,
    Frame,
    FrameError,
    FrameReader,
    close_frame,
    control_frame,
    read_close,
    text_head,
)

MESSAGES = 64
"""Messages and control frames that are handled per turn of the loop."""
MOST_UNSENT = 256 * 1024
"""Bytes unsent after which nothing more is read."""
MOST_SILENT = 2
"""Pings in a row without any byte from the client, after which it is taken for gone."""
ERROR = "error"

log = logging.getLogger("fanmail.http")


class SessionConnection(ClientSocket):
    """Belongs to the hub's thread; implements `SessionOutlet`."""

    def __init__(
        self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account, reader: FrameReader
    ) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr)
        self.state = State.STREAMING
        self.account = account
        self.account.evict = self._too_slow
        self._reader = reader
        self._pieces: list[bytes] = []
        self._pending = 0
        """What this turn sends, and its bytes."""
        self._out: bytes | memoryview = b""
        """What the kernel has not taken."""
        self._delivering = self._working = self._ending = False
        """Whether `_deliver` or `_work` will be called; whether the last frame is written."""
        self._silent = 0
        self._reason = STOPPED
        self._written = self._delivered = 0
        """Bytes written; how many the client had taken when the present `write_timeout` began."""
        self._began = time.monotonic()
        self._about: dict[str, Any] = {}
        self._handler: SessionHandler | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(server.options.write_timeout * 1000))

    def begin(self, head: bytes, about: dict[str, Any], begin: BeginSession, data: bytes) -> None:
        """Answer the handshake and start the session. `data` came behind the handshake."""
        self._about = about
        self._append(head)
        if data:
            self._reader.feed(data)
        self._handler = begin(self)
        self._watch()
        if data:
            self._work_later()

    # --- what the session calls

    @property
    def unsent(self) -> int:
        """Return the bytes that the kernel has not taken yet."""
        return self._pending + len(self._out)

    def send(self, text: bytes) -> None:
        """Send a message at the end of this turn."""
        size = len(text)
        self._pieces.append(text_head(size))
        self._pieces.append(text)
        self._pending += size
        if not self._delivering:
            self._delivering = True
            self.hub.end_turn_with(self._deliver)

    def ping(self) -> bool:
        """Send a ping; return False where nothing at all has arrived since the one before the last."""
        if self._mask is None or not self._mask & EPOLLIN:
            self._silent = 0  # it is not read, so it may have answered
        if self._silent >= MOST_SILENT:
            return False
        self._silent += 1
        self._append(control_frame(PING, b""))
        return True

    def proceed(self) -> None:
        """Read on, where the handler is not busy any more."""
        if self._handler is not None:
            self._work_later()

    def close(self, code: int = 0, reason: str = "", ended: str = "") -> None:
        """Send a close frame behind what is sent, and close; without an `ended` reason close at once."""
        if not ended:
            self._close(self._reason)
            return
        if self.state != State.STREAMING or self._handler is None:
            return
        self._handler = None
        self._report(ended)
        self._append(close_frame(code, reason))
        self._ending = True

    # --- from the client

    def _react(self, events: int) -> None:
        if self.state == State.LINGERING:
            self._discard()
            return
        if events & (EPOLLHUP | EPOLLERR):
            self._close(self._fault() or CLIENT)
            return
        if events & EPOLLOUT:
            self._flush()
        if events & (EPOLLIN | EPOLLRDHUP) and self._handler is not None and not self._working:
            data = self._take()
            if data:
                self._silent = 0
                self._reader.feed(data)
                self._work()

    def _work_later(self) -> None:
        if not self._working:
            self._working = True
            self.hub.spawn(self._work)

    def _work(self) -> None:
        """Handle some of what has arrived."""
        self._working = False
        handler = self._handler
        if handler is None:
            return
        try:
            if not self._handle_some(handler) and self._handler is handler:
                self._work_later()
            handler.turn_over()
        except FrameError as error:
            self._end(handler, error.code, error.reason)
        except FanmailError as error:
            self._end(handler, TRY_LATER, str(error))
        except Exception:
            log.exception("a session failed")
            self._end(handler, INTERNAL, "internal error")
        self._watch()

    def _handle_some(self, handler: SessionHandler) -> bool:
        """Handle the messages of one turn; return whether none is left that could be handled now."""
        read, received = self._reader.next, handler.received
        for _ in range(MESSAGES):
            if handler.busy or self._pending + len(self._out) >= MOST_UNSENT:
                return True
            frame = read()
            if frame is None:
                self._hold()
                return True
            if frame.opcode == TEXT:
                received(frame.payload)
            else:
                self._control(handler, frame)
            if self._handler is not handler:
                return True
        return False

    def _control(self, handler: SessionHandler, frame: Frame) -> None:
        if frame.opcode == PING:
            self._append(control_frame(PONG, frame.payload))
        elif frame.opcode != PONG:
            code, _ = read_close(frame.payload)
            handler.turn_over()
            self._end(handler, code, "", CLIENT)

    def _end(self, handler: SessionHandler, code: int, reason: str, ended: str = ERROR) -> None:
        """Close with a code, because of what the client or the session did."""
        if self._handler is not handler:
            return
        self.close(code, reason, ended)
        handler.gone(ended)

    def _hold(self) -> None:
        """Count what waits for more. Raises `front-busy` where there is no room for it."""
        size = self._reader.held + self.unsent
        self.account.grow(size)
        if size:
            self.account.progress()
        else:
            self.account.stop_waiting()

    def _watch(self) -> None:
        """Ask for the events that matter now."""
        if self.state != State.STREAMING:
            return
        mask = EPOLLOUT if self._out else 0
        handler = self._handler
        if handler is not None and not (self._working or handler.busy or self.unsent >= MOST_UNSENT):
            mask |= INCOMING
        self._want(mask)

    def _ended(self) -> None:
        self._close(CLIENT)

    # --- to the client

    def _append(self, data: bytes) -> None:
        self._pieces.append(data)
        self._pending += len(data)
        if not self._delivering:
            self._delivering = True
            self.hub.end_turn_with(self._deliver)

    def _deliver(self) -> None:
        """Send what was written in this turn."""
        self._delivering = False
        if self.state != State.STREAMING:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._pending = 0
        self._written += len(data)
        if self._out:
            self._out = bytes(self._out) + data
        else:
            self._out = self._send(data)
            if self._out:
                self._next_window()
        self._sent()

    def _flush(self) -> None:
        """Send what the kernel had no room for."""
        out = memoryview(self._out)
        rest = self._send(out[:AT_ONCE])
        sent = min(len(out), AT_ONCE) - len(rest)
        self._out = out[sent:] if sent < len(out) else b""
        if self.broken:
            self._close(CLIENT)
            return
        if self._out:
            return
        self.deadline = inf
        self.server.forget_deadline(self)
        self._sent()
        if self._handler is not None and not self._out:
            self._handler.flushed()
            self._work_later()

    def _sent(self) -> None:
        """Continue after sending."""
        if self.broken:
            self._close(CLIENT)
            return
        size = self._reader.held + self.unsent
        self.account.hold(size)
        if size:
            self.account.progress()
        else:
            self.account.stop_waiting()
        if self._ending and not self._out:
            self._linger()
            if self.state == State.LINGERING:
                self.server.watch_deadline(self)
        else:
            self._watch()

    def _next_window(self) -> None:
        self._delivered = self._written - len(self._out) - unread(self._sock)
        self.deadline = time.monotonic() + self.server.options.write_timeout
        self.server.watch_deadline(self)

    # --- the end

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state != State.STREAMING:
            self._close(self._reason)
        elif self._written - len(self._out) - unread(self._sock) <= self._delivered:
            self._too_slow()
        else:
            self._next_window()

    def limit_idle(self, until: float) -> None:
        """Do nothing: the application ends its sessions itself."""

    def _fault(self) -> str:
        return SLOW if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == ETIMEDOUT else ""

    def _too_slow(self) -> None:
        """End the session of a client that reads nothing. From any greenlet."""
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
        """Report the session, once, at its end."""
        about, self._about = self._about, {}
        self.server.report("GET", about, 101, time.monotonic() - self._began, self._written + self._pending, reason)

    def _drop(self) -> None:
        self._out = b""
        self._pieces.clear()
        self._pending = 0
        self.account.clear()
        self.account.evict = lambda: None  # it would keep this connection
