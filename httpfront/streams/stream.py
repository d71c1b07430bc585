"""One stream: its place, what it waits for, and when it ends. No sockets here.

    WAITING --a message may be there--> QUEUED --its turn--> READING --all is sent--> QUEUED or WAITING
    WAITING, READING --the broker cannot be asked now--> RESTING --later--> OPENING --> WAITING
    any --its end, or that of the connection--> ENDED

The place is the next message to send; WAIT and FETCH carry it, and take and confirm nothing. Messages are read only
while nothing is unsent, so that a slow client holds back its own stream and no other.
"""

from __future__ import annotations

import random
import time
from math import inf
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.batch import bodies
from httpfront.formats.documents import problem_of
from httpfront.formats.ndjson import message_members
from httpfront.gateway.call import Answer
from httpfront.outlet import Outlet
from httpfront.streams.confirming import Confirming
from httpfront.streams.origin import StreamOrigin
from httpfront.streams.table import Reply, StreamTable

SILENCE_S = 15.0
"""Seconds of silence after which something is sent, and the key is looked at again."""
WAIT_S = 120.0
"""Duration of one WAIT."""
READ_BYTES, READ_MESSAGES = 64 * 1024, 1000
"""Content that is asked for at once."""
UNSENT_BYTES = 256 * 1024
"""Rendered bytes after which the rest of what was read is read again later."""
PATIENCE_S = 30.0
"""Time without its broker after which a stream ends with that error."""
WAITING, QUEUED, READING, FLUSHING, RESTING, OPENING, ENDED = range(7)
_LOST = ("broker-down", "loading", "draining", "wrong-incarnation", "moving", "not-owner", "outcome-unknown")
"""Errors after which a stream is opened anew at the broker."""
_BUSY = ("broker-busy", "front-busy", "expired")
"""Errors after which it asks again."""


class Stream:
    """A `StreamHandler` and a `TableEntry`. Belongs to the hub's thread; never parks."""

    __slots__ = (
        *(
            "_at",
            "_beat_at",
            "_broken_since",
            "_confirming",
            "_end_at",
            "_left",
            "_lost",
            "_number",
            "_origin",
            "_size",
        ),
        *("_outlet", "_place", "_reply", "_retry_at", "_table", "_wait_id", "_wait_over", "due", "slot"),
    )

    def __init__(self, table: StreamTable, origin: StreamOrigin, outlet: Outlet) -> None:
        """Create the stream for an open connection; `start` begins."""
        self.due, self.slot = inf, -1
        self._table = table
        self._origin = origin
        self._outlet = outlet
        self._number = origin.opened.number
        self._place = origin.place
        self._at = OPENING
        self._reply: Reply | None = None
        """The call that the stream waits for; answers to others are too late."""
        self._wait_id, self._wait_over = 0, inf
        """The WAIT under way, and when its broker must have answered."""
        self._lost = False
        """Whether it must be opened anew, because its broker may be another process."""
        self._size = 0
        """The size of the next message where that needs a read of its own."""
        self._left = False
        """Whether there are more messages than were written."""
        self._beat_at = self._retry_at = self._end_at = inf
        self._broken_since = 0.0
        """When the broker could not be asked for the first time; 0: it could, the last time."""
        self._confirming = Confirming(table, origin, origin.confirm_s) if origin.confirm_s is not None else None

    def start(self, first: bytes) -> None:
        """Write the beginning, and wait for messages. The caller has added the stream to the table."""
        self._write(first)
        self._wait()

    # --- the broker

    def read(self) -> None:
        """Ask the broker for messages, as it is this stream's turn."""
        if self._at != QUEUED or not self._allowed():
            return
        account, origin = self._outlet.account, self._origin
        size, self._size = self._size, 0
        try:
            room = account.reserve_exactly(size) if size else account.reserve(READ_BYTES)
        except FanmailError as error:
            self.failed(error)
            return
        args = ops.Fetch(False, origin.opened.epoch, 0, READ_MESSAGES, room, False, room=room, place=self._place)
        if self._ask(READING, Op.FETCH, args, size=size):
            self._table.read_began(size)

    def _wait(self) -> None:
        args = ops.Wait(0, self._place, self._origin.opened.epoch, self._number)
        lasts_s = WAIT_S * random.uniform(0.75, 1.25)
        self._wait_over = time.monotonic() + lasts_s + SILENCE_S
        self._ask(WAITING, Op.WAIT, args, lasts_s)

    def _ask(self, state: int, op: Op, args: Struct, lasts_s: float = 0, size: int = 0) -> bool:
        """Begin a call, and wait for its answer; return False where it cannot be sent."""
        self._at = state
        self._reply = reply = Reply(self, op, size)
        try:
            call = self._table.gateway.start(op, *self._origin.mailbox, args, reply, self._origin.request_id, lasts_s)
        except FanmailError as error:
            self.failed(error)
            return False
        self._wait_id = call.id if lasts_s else 0
        return True

    def answered(self, reply: Reply, answer: Answer) -> None:
        """Take the answer of a broker."""
        if reply.op is Op.FETCH:
            self._table.read_ended(reply.size)
        try:
            if self._reply is reply:
                self._reply = None
                self._go_on(reply.op, self._table.gateway.result_of(reply.op, answer))
        except FanmailError as error:
            self.failed(error)
        finally:
            self._table.start_reads()

    def _go_on(self, op: Op, result: Any) -> None:
        self._broken_since = 0.0
        if op is Op.FETCH:
            self._arrived(result)
        elif op is Op.STREAM:
            self._opened_anew(result)
        elif result.now:
            self._want_read()
        else:
            self._wait()

    def _want_read(self) -> None:
        self._at = QUEUED
        self._table.want_read(self, large=self._size > 0)

    def _opened_anew(self, opened: ops.StreamOpened) -> None:
        if opened.epoch != self._origin.opened.epoch:
            self._end("end", FanmailError("no-subscription", "the topic that this stream read has ended"))
            return
        former, self._number, self._lost = self._number, opened.number, False
        self._table.cancel(self._origin.mailbox, 0, former, self._origin.request_id)
        self._wait()

    def failed(self, error: FanmailError) -> None:
        """End, or ask again later where the broker, or this front, may then be able to answer."""
        if self._at == READING:
            self._outlet.account.release()
        if error.code == "answer-too-large" and self._at == READING:
            self._size = int(str(error.fields.get("size", 0)))
            self._want_read()
        elif error.code == "no-subscription":
            self._end("end", error)
        elif error.code in _LOST or error.code in _BUSY or error.code == "answer-too-large":
            self._rest(error)
        else:
            self._end("error", error)

    def _rest(self, error: FanmailError) -> None:
        now = time.monotonic()
        self._broken_since = self._broken_since or now
        since = now - self._broken_since
        if since > PATIENCE_S:
            self._end("error", error)
            return
        self._at = RESTING
        self._lost = self._lost or error.code in _LOST
        self._retry_at = now + min(5.0, 0.2 + since / 2) * random.uniform(0.5, 1.5)
        self._schedule()

    # --- the client

    def _arrived(self, batch: ops.Batch) -> None:
        """Write what was read, as much as may be unsent."""
        pieces: list[bytes] = []
        if batch.position > self._place:
            pieces.append(self._gap(batch.position))
        epoch, render, size = batch.epoch, self._origin.form.message, 0
        for run in batch.runs:
            members = message_members(run.time, run.attempt, run.headers)
            for seq, body in enumerate(bodies(run.body), run.first):
                if size >= UNSENT_BYTES:
                    break
                pieces.append(render(f"{epoch}-{seq}", members, body))
                size += len(pieces[-1])
                self._place = seq + 1
        last = batch.runs[-1] if batch.runs else None
        self._left = batch.pending > 0 or (last is not None and self._place < last.first + last.count)
        self._table.events += len(pieces)
        self._at = FLUSHING
        if pieces and self._allowed():
            self._write(b"".join(pieces), messages=size > 0)
        if self._at == FLUSHING and not self._outlet.unsent:
            self._outlet.account.release()
            self.flushed()

    def _gap(self, position: int) -> bytes:
        missed = self._origin.gap(self._place, position)
        self._place = position
        return missed

    def flushed(self) -> None:
        """Continue: everything that was written is sent."""
        if self._at == FLUSHING and self._left:
            self._want_read()
        elif self._at == FLUSHING:
            self._wait()

    def gone(self, reason: str) -> None:
        """End: the connection is closed."""
        self._over(reason)

    def _write(self, data: bytes, messages: bool = False) -> None:
        now = time.monotonic()
        self._outlet.write(data)
        self._beat_at = now + SILENCE_S
        if messages and self._confirming is not None:
            self._confirming.wrote(now, self._outlet.written, self._place - 1)
        self._schedule()

    def _allowed(self) -> bool:
        """Return whether the key may still read this; else the stream has ended."""
        if (error := self._origin.refusal()) is not None:
            self._end("end", error)
        return error is None

    # --- time

    def end_at(self, when: float) -> None:
        """End at this time, because the front stops."""
        self._end_at = when
        self._schedule()

    def timed(self, now: float) -> None:
        """Do what is due."""
        if now >= self._end_at:
            self._end("error", FanmailError("draining", "this front is stopping"), "draining")
            return
        if self._confirming is not None and now >= self._confirming.due:
            self._confirming.confirm(now, self._outlet, self._number)
        if now >= self._beat_at:
            self._beat_at = now + SILENCE_S
            if self._allowed() and not self._outlet.unsent:
                self._write(self._origin.form.silence)
            if self._at == WAITING and now >= self._wait_over:
                self._wait()  # the answer was lost
        if now >= self._retry_at and self._at == RESTING:
            self._retry_at = inf
            if self._lost:
                self._ask(OPENING, Op.STREAM, ops.OpenStream())
            else:
                self._want_read()
        self._schedule()

    def _schedule(self) -> None:
        if self._at != ENDED:
            confirm_at = inf if self._confirming is None else self._confirming.due
            self._table.wheel.set(self, min(self._beat_at, self._retry_at, confirm_at, self._end_at))

    # --- the end

    def _end(self, event: str, error: FanmailError, reason: str = "") -> None:
        """Tell the client why, and close when that is sent. After `end` it need not come back."""
        if self._at == ENDED:
            return
        if self._origin.confirm_s == 0 and self._confirming is not None:  # what was written is done
            self._confirming.confirm(time.monotonic(), self._outlet, self._number)
        self._outlet.write(self._origin.form.event(event, problem_of(error)))
        self._table.events += 1
        self._outlet.end(reason or event)
        self._over(reason or event)

    def _over(self, reason: str) -> None:
        wait_id = self._wait_id if self._at == WAITING and self._reply is not None else 0
        self._at, self._reply = ENDED, None
        self._table.remove(self, reason)
        self._table.cancel(self._origin.mailbox, wait_id, self._number, self._origin.request_id)
