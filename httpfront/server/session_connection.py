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
from collections.abc import Callable
from itertools import chain
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Any

from common.errors import FanmailError
from httpfront.budget import Account
from httpfront.outlet import BeginSession, SessionHandler
from httpfront.server.batched_socket import BatchedSocket
from httpfront.server.client_socket import INCOMING, State
from httpfront.server.context import ServerContext
from httpfront.server.lasting_connection import CLIENT, SLOW
from httpfront.server.websocket_frames import (
    INTERNAL,
    PING,
    PONG,
    TEXT,
    TRY_LATER,
    FrameError,
    FrameReader,
    close_frame,
    control_frame,
    read_close,
    text_head,
)

MESSAGES = 64
"""Messages and control frames that are handled per turn of the loop."""
MOST_PER_TURN = 64 * 1024
"""Bytes of messages after which a turn handles no more of them."""
MUCH = 2048
"""Bytes that arrive at once, which are handled after what others have sent."""
MOST_UNSENT = 256 * 1024
"""Bytes unsent after which nothing more is read."""
MOST_SILENT = 2
"""Pings in a row without any byte from the client, after which it is taken for gone."""
ERROR = "error"

log = logging.getLogger("fanmail.http")


class SessionConnection(BatchedSocket):
    """Belongs to the hub's thread; implements `SessionOutlet`."""

    STATUS = 101
    _handler: SessionHandler | None

    def __init__(
        self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account, reader: FrameReader
    ) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr, account)
        self._reader = reader
        self._working = self._stalled = False
        """Whether `_work` will be called; whether it waits until the handler is less busy, or less is unsent."""
        self._silent = 0

    def begin(self, head: bytes, about: dict[str, Any], begin: BeginSession, data: bytes) -> None:
        """Answer the handshake and start the session. `data` came behind the handshake."""
        self._about = about
        self._append(head)
        if data:
            self._reader.feed(data)
        self._handler = begin(self)
        self._handler.started()
        self._watch()
        if data:
            self._work_later()

    # --- what the session calls

    def send(self, text: bytes) -> None:
        """Send a message at the end of this turn."""
        size = len(text)
        self._pieces.append(text_head(size))
        self._pieces.append(text)
        self._pending += size
        if not self._delivering:
            self._delivering = True
            self.hub.end_turn_with(self._deliver)

    def send_all(self, texts: list[bytes]) -> None:
        """Send messages in order at the end of this turn; cheaper than one by one."""
        sizes = list(map(len, texts))
        self._pieces += chain.from_iterable(zip(map(text_head, sizes), texts, strict=True))
        self._pending += sum(sizes)
        if texts and not self._delivering:
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

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` once, `seconds` from now."""
        self.hub.after(seconds, work)

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
                if len(data) < MUCH:
                    self._work()
                else:
                    self._work_later()

    def _work_later(self) -> None:
        if not self._working:
            self._working = True
            self.hub.put_off(self._work)

    def _work(self) -> None:
        """Handle some of what has arrived."""
        self._working = self._stalled = False
        handler = self._handler
        if handler is None:
            return
        try:
            more = not self._handle_some(handler) and self._handler is handler
            if more:
                self._work_later()
            handler.turn_over(more)
            self.account.grow(self._held() + self.unsent)
            self.settle()
        except FrameError as error:
            self._end(handler, error.code, error.reason)
        except FanmailError as error:
            self._end(handler, TRY_LATER, str(error), SLOW)
        except Exception:
            log.exception("a session failed")
            self._end(handler, INTERNAL, "internal error")
        self._watch()

    def _handle_some(self, handler: SessionHandler) -> bool:
        """Handle the messages of one turn; return whether none is left that could be handled now."""
        read, received, left = self._reader.next, handler.received, MOST_PER_TURN
        for _ in range(MESSAGES):
            if handler.busy or self._pending + len(self._out) >= MOST_UNSENT:
                self._stalled = True
                return True
            frame = read()
            if frame is None:
                return True
            opcode, payload = frame
            if opcode == TEXT:
                received(payload)
            else:
                self._control(handler, opcode, payload)
            if self._handler is not handler:
                return True
            left -= len(payload)
            if left <= 0:
                return False
        return False

    def _control(self, handler: SessionHandler, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._append(control_frame(PONG, payload))
        elif opcode != PONG:
            code, _ = read_close(payload)
            handler.turn_over(False)
            self._end(handler, code, "", CLIENT)

    def _end(self, handler: SessionHandler, code: int, reason: str, ended: str = ERROR) -> None:
        """Close with a code, because of what the client or the session did."""
        if self._handler is not handler:
            return
        self.close(code, reason, ended)
        handler.gone(ended)

    def _held(self) -> int:
        return self._reader.held + (self._handler.held if self._handler is not None else 0)

    def waits_for_client(self) -> bool:
        """Return whether there is something that only the client can end."""
        return bool(self._out or self._reader.held)

    def _emptied(self) -> None:
        handler = self._handler
        if handler is not None:
            handler.flushed()
            if self._stalled and not handler.busy:
                self._work_later()

    def _watch(self) -> None:
        """Ask for the events that matter now."""
        if self.state != State.STREAMING:
            return
        mask = EPOLLOUT if self._out else 0
        handler = self._handler
        if handler is not None and not (self._working or handler.busy or self.unsent >= MOST_UNSENT):
            mask |= INCOMING
        self._want(mask)
