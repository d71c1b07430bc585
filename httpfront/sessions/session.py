"""One WebSocket session: what its client asks for goes to brokers, many at a time, and their answers come back.

No greenlet and no sockets here: messages come from the connection, answers from the gateway, time from the wheel of the
streams. The session is not read while too much is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from common.errors import FanmailError
from common.keys.access_rules import CONSUME, PUBLISH, SUBSCRIBE
from common.protocol.ops import Op, Receipt
from httpfront.outlet import SessionOutlet
from httpfront.sessions import operations as wanted
from httpfront.sessions.acknowledging import Acknowledging
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.mailbox_calls import MailboxCalls
from httpfront.sessions.origin import Origin
from httpfront.sessions.publishing import Publishing
from httpfront.sessions.readings import Readings
from httpfront.sessions.refusals import malformed, refused
from httpfront.sessions.table import SessionTable
from httpfront.sessions.timer import SessionTimer
from httpfront.sessions.values import mailbox_of

FULL_BYTES = 256 * 1024
"""Bytes unsent after which no more messages are asked for."""
GOING_AWAY, INVALID, POLICY, INTERNAL = 1001, 1007, 1008, 1011
"""Close codes of RFC 6455."""


class Session:
    """A `SessionHandler`, and the `Owner` of its parts. Belongs to the hub's thread."""

    __slots__ = (
        *("_access", "_acks", "_calls", "_closing", "_first", "_held", "_publishing", "_readings", "_timer"),
        *("_under_way", "busy", "fetches", "gateway", "held", "limits", "outlet", "over", "request_id", "table"),
    )

    def __init__(self, table: SessionTable, origin: Origin, outlet: SessionOutlet) -> None:
        """Create the session of an open connection."""
        self.table, self.limits, self.gateway = table, table.limits, table.gateway
        self.outlet = outlet
        self.request_id = origin.request_id
        self._access, self._first = origin.access, origin.first
        self._publishing = Publishing(self)
        self._readings = Readings(self)
        self._acks, self._calls = Acknowledging(self, self._readings), MailboxCalls(self, self._readings)
        self.busy = self.over = False
        self.fetches = self._under_way = self.held = 0
        """Fetches of reads, and operations, that are not answered; the bytes of those operations' messages."""
        self._held: deque[Any] = deque()
        """Reads that wait until there is room for more messages."""
        self._closing: tuple[int, str, str] | None = None
        """How to close once nothing is under way."""
        self._timer = SessionTimer(self, table.streams.wheel)

    # --- from the client

    def started(self) -> None:
        """Begin with a read, where the handshake asked for one."""
        if self._first is not None:
            try:
                self._read(self._first, 0)
            except FanmailError as error:
                self._refuse(self._first, error)

    def received(self, text: bytes) -> None:
        """Take a message, which may not be UTF-8."""
        try:
            op = wanted.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._malformed(text, error)
            return
        kind = type(op)
        counts = self.table.operations
        counts[kind] = counts.get(kind, 0) + 1
        try:
            _HANDLERS[kind](self, op, len(text))
        except FanmailError as error:
            self._refuse(op, error)

    def _malformed(self, text: bytes, error: Exception) -> None:
        self.table.invalid += 1
        answer = malformed(text, error)
        if answer is None:
            self.finish(INVALID, "a message is not UTF-8", "error")
        else:
            self.send(answer)

    def _refuse(self, op: Any, error: FanmailError) -> None:
        """Answer an operation that was not begun."""
        if error.code == "unauthorized":
            self.finish(POLICY, str(error), "unauthorized")
        elif (answer := refused(op, error)) is not None:
            self.send(answer)

    def _publish(self, op: wanted.Publish, size: int) -> None:
        if self._access is not None:
            self._access.check(PUBLISH, op.topic)
        self._publishing.publish(op, size)

    def _subscribe(self, op: wanted.Subscribe | wanted.Unsubscribe, size: int) -> None:
        self._calls.subscribe(self._mailbox(op, SUBSCRIBE), op, size)

    def _read(self, op: wanted.Read, size: int) -> None:
        self._readings.read(self._mailbox(op, CONSUME), op)

    def _stop(self, op: wanted.Stop, size: int) -> None:
        self._readings.stop(self._mailbox(op, CONSUME), op)

    def _ack(self, op: wanted.Ack, size: int) -> None:
        if self._access is not None:
            self._access.check(CONSUME, op.topic, op.user)
        self._calls.acknowledge(self._acks, mailbox_of(op.topic, op.user, self.limits.max_name), op, size)

    def _lease(self, op: wanted.Nack | wanted.Extend, size: int) -> None:
        self._calls.change_lease(self._mailbox(op, CONSUME), op, size)

    def _mailbox(self, op: wanted.OnMailbox, right: str) -> Mailbox:
        """Return the mailbox of an operation that the key allows; what was put off for mailboxes is sent before it."""
        if self._access is not None:
            self._access.check(right, op.topic, op.user)
        self.turn_over()
        return mailbox_of(op.topic, op.user, self.limits.max_name)

    def turn_over(self, more: bool = False) -> None:
        """Send what was put off while several messages were received."""
        self._publishing.flush()
        self._acks.turn_over(more)

    # --- what the parts use

    def send(self, text: bytes) -> None:
        """Send a message to the client."""
        if not self.over:
            self.outlet.send(text)

    def send_all(self, texts: list[bytes]) -> None:
        """Send messages to the client in order."""
        if not self.over:
            self.outlet.send_all(texts)

    def began(self, size: int) -> None:
        """Count an operation whose message had `size` bytes as under way."""
        self._under_way += 1
        self.held += size
        shares = self.table.shares
        if self._under_way == 1 and not self.fetches:
            shares.began(self)
        if self._under_way >= shares.now.operations or self.held >= self.limits.operation_bytes:
            self.busy = True

    def done(self, size: int, count: int = 1) -> None:
        """Count it, or `count` of them with `size` bytes together, as answered."""
        self._under_way -= count
        self.held -= size
        if self.busy:
            self._less_busy()
        if not self._under_way and not self.over:
            if not self.fetches:
                self.table.shares.ended()
            self.outlet.settle()

    def _less_busy(self) -> None:
        if self._closing is not None:
            self._close_idle()
        elif self._under_way <= self.table.shares.now.operations // 2 and self.held <= self.limits.operation_bytes // 2:
            self.busy = False
            self.outlet.proceed()

    def may_fetch(self) -> bool:
        """Return whether one more read may ask its broker for messages now."""
        most = self.table.shares.now.fetches
        return self.fetches < most and self.outlet.unsent < FULL_BYTES and self._closing is None

    def hold(self, reading: Any) -> None:
        """Call `proceed` of a read once `may_fetch` is true."""
        self._held.append(reading)

    def fetch_began(self) -> None:
        """Count a read that asks its broker for messages."""
        self.fetches += 1
        if self.fetches == 1 and not self._under_way:
            self.table.shares.began(self)

    def fetch_ended(self) -> None:
        """Count it as answered."""
        self.fetches -= 1
        if not self.fetches and not self._under_way and not self.over:
            self.table.shares.ended()

    def fetch_over(self) -> None:
        """Let another read have its turn."""
        self._close_idle()
        for _ in range(len(self._held)):
            if not self.may_fetch():
                return
            self._held.popleft().proceed()

    def flushed(self) -> None:
        """Continue: everything that was sent has been taken."""
        if self._held:
            self.fetch_over()

    def allowed(self, mailbox: Mailbox) -> bool:
        """Return whether the key may read this; else the session has ended."""
        try:
            if self._access is not None:
                self._access.check(CONSUME, mailbox.topic_text, mailbox.user_text)
        except FanmailError as error:
            self.finish(POLICY, str(error), "unauthorized")
            return False
        return True

    def forward(self, mailbox: Mailbox, op: Op, args: msgspec.Struct) -> None:
        """Ask a broker for something whose answer nobody waits for."""
        self.table.forward(mailbox.names, op, args, self.request_id)

    def return_leases(self, mailbox: Mailbox, receipts: list[Receipt]) -> None:
        """Give leased messages back."""
        self.table.return_leases(mailbox.names, receipts, self.request_id)

    # --- time and end

    def wake_at(self, when: float) -> None:
        """Call `timed` of every read at this time, or before."""
        self._timer.wake_at(when)

    def end_at(self, when: float) -> None:
        """End at this time, because the front stops."""
        self._timer.end_at(when)

    def timed(self, now: float) -> None:
        """Let every read do what is due."""
        self._readings.timed(now)

    def drain(self) -> None:
        """Close once nothing is under way."""
        self._closing, self.busy = (GOING_AWAY, "draining: this front is stopping", "draining"), True
        self._close_idle()

    def check_key(self) -> None:
        """End where the key is not in force any more, or may not read any more what is read."""
        try:
            if self._access is not None:
                self._access.check()
        except FanmailError as error:
            self.finish(POLICY, str(error), "unauthorized")
        else:
            for mailbox in self._readings.mailboxes():
                if not self.allowed(mailbox):
                    return

    def _close_idle(self) -> None:
        """Close where nothing is under way."""
        if self._closing is not None and not self._under_way and not self.fetches:
            self.finish(*self._closing)

    def finish(self, code: int, reason: str, ended: str) -> None:
        """Close with a code; `ended` is for the log."""
        if not self.over:
            self._end(ended)
            self.outlet.close(code, reason, ended)

    def gone(self, reason: str) -> None:
        """End: the connection is closed."""
        if not self.over:
            self._end(reason)

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self.finish(INTERNAL, "internal error", "error")

    def _end(self, reason: str) -> None:
        self.over = True
        if self._under_way or self.fetches:
            self.table.shares.ended()
        self.turn_over()
        self._readings.close()
        self._held.clear()
        self._timer.stop()
        self.table.remove(self, reason)


_HANDLERS: dict[type, Callable[[Session, Any, int], None]] = {
    wanted.Publish: Session._publish,
    wanted.Subscribe: Session._subscribe,
    wanted.Unsubscribe: Session._subscribe,
    wanted.Read: Session._read,
    wanted.Stop: Session._stop,
    wanted.Ack: Session._ack,
    wanted.Nack: Session._lease,
    wanted.Extend: Session._lease,
}
