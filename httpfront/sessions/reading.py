"""One read of a mailbox: it asks its broker for messages, as many as its window allows.

    OPENING --the broker knows the mailbox--> NEXT
    NEXT --there may be messages--> QUEUED --its turn--> READING --written--> NEXT
    NEXT --there are none--> WAITING --a message may be there--> NEXT
    NEXT --the window is full--> FULL --something is confirmed--> NEXT
    NEXT --it is nearly full--> SCARCE --a quarter is confirmed, or GATHER_S later--> NEXT
    NEXT --too much is unsent--> HELD --the session has room--> NEXT
    any --the broker cannot be asked now--> RESTING --later--> OPENING or NEXT
    any --`stop`, its end, or that of the session--> ENDED

With `after` it reads ahead of what is confirmed, as a stream does; with `lease` and `take` it is one of the readers of
its mailbox, and waits in their line.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import inf
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.delivery import Delivery, ReadRequest
from httpfront.sessions.operations import AFTER
from httpfront.sessions.patience import BUSY, Patience
from httpfront.sessions.ports import Owner
from httpfront.sessions.window import GATHER_S, LeaseWindow, Window
from httpfront.streams.table import Reply, guarded

WAIT_S, LATE_S, EXPIRY_S = 120.0, 15.0, 1.0
"""Duration of one WAIT; time after its end after which the answer is lost; time between two looks for leases that are
over in a full window.
"""
OPENING, QUEUED, READING, WAITING, FULL, SCARCE, HELD, RESTING, ENDED = range(9)


class Reading:
    """A `TableEntry` of the streams' table, which gives it its turns. Belongs to the hub's thread; never parks."""

    __slots__ = (
        *("_at", "_delivery", "_gathering", "_left", "_lost", "_number", "_opened", "_over", "_owner", "_patience"),
        *("_reply", "_retry_at", "_room", "_size", "_ticket", "_wait_id", "_wait_over"),
        *("due", "mailbox", "request", "slot", "stopped", "window"),
    )

    def __init__(self, owner: Owner, request: ReadRequest, window: Window, over: Callable[[Reading], None]) -> None:
        """Create it; `open` begins. `over` is called at its end."""
        self.due, self.slot = inf, -1
        self.mailbox = request.mailbox
        self.request = request
        self.window = window
        self._owner = owner
        self._over = over
        self._delivery = Delivery(owner, request, window)
        self._at = OPENING
        self._opened = False
        """Whether the client was told that the read is open."""
        self._number = 0
        self._ticket = 0
        """With `after`: the number of the stream. Otherwise: the place in the line of readers."""
        self._reply: Reply | None = None
        """The call that it waits for."""
        self._room = self._size = 0
        """Bytes reserved for the answer; the size of the next message where that needs a read of its own."""
        self._left = True
        """Whether there may be messages."""
        self._lost = False
        """Whether it must be opened anew, because its broker may be another process."""
        self._wait_id, self._wait_over, self._retry_at = 0, inf, inf
        self._gathering = False
        """Whether `_gathered` will be called."""
        self._patience = Patience()
        self.stopped: list[Callable[[], None]] = []
        """What to call, in order, once nothing more is sent, after `stop`."""

    # --- the broker

    def open(self) -> None:
        """Ask the broker for the mailbox."""
        if self.request.mode == AFTER:
            self._ask(OPENING, Op.STREAM, self._delivery.opening())
        else:
            self._ask(OPENING, Op.LOOK, ops.Nothing())

    def read(self) -> None:
        """Ask the broker for messages, as it is this read's turn."""
        if self._at != QUEUED or not self._owner.allowed(self.mailbox):
            return
        if not self._owner.may_fetch():
            self._hold()
            return
        messages, size = self.window.room()
        account, exactly, self._size = self._owner.outlet.account, self._size, 0
        try:
            most = max(1, min(self._owner.table.shares.now.fetch_bytes, size))
            self._room = account.reserve_exactly(exactly) if exactly else account.reserve(most)
        except FanmailError as error:
            self.failed(error)
            return
        self._owner.fetch_began()
        if self._ask(READING, Op.FETCH, self._delivery.fetch(max(messages, 1), self._room), size=exactly):
            self._owner.table.streams.read_began(exactly)

    def _wait(self) -> None:
        args = ops.Wait(self._ticket, self._delivery.place, self._delivery.epoch, self._number)
        lasts_s = WAIT_S * random.uniform(0.75, 1.25)
        self._wait_over = time.monotonic() + lasts_s + LATE_S
        self._ask(WAITING, Op.WAIT, args, lasts_s)

    def _ask(self, state: int, op: Op, args: Struct, lasts_s: float = 0, size: int = 0) -> bool:
        """Begin a call, and wait for its answer; return False where it cannot be sent."""
        self._at = state
        self._reply = reply = Reply(self, op, size)
        owner = self._owner
        try:
            call = owner.gateway.start(op, *self.mailbox.names, args, reply, owner.request_id, lasts_s)
        except FanmailError as error:
            self._reply = None
            if op is Op.FETCH:
                self._fetched()
            self.failed(error)
            return False
        self._wait_id = call.id if lasts_s else 0
        return True

    def answered(self, reply: Reply, answer: Answer) -> None:
        """Take the answer of a broker."""
        streams = self._owner.table.streams
        if reply.op is Op.FETCH:
            streams.read_ended(reply.size)
            self._fetched()
        try:
            if self._reply is reply:
                self._reply = None
                self._go_on(reply.op, self._owner.gateway.result_of(reply.op, answer))
            else:
                self._delivery.undo(reply.op, answer)
        except FanmailError as error:
            self.failed(error)
        finally:
            streams.start_reads()
            self._owner.fetch_over()

    def _fetched(self) -> None:
        self._owner.fetch_ended()
        if not self._owner.over:  # otherwise everything was given back already
            self._owner.outlet.account.give_back(self._room)

    def _go_on(self, op: Op, result: Any) -> None:
        self._patience.restore()
        if op is Op.FETCH:
            self._left, self._ticket = self._delivery.deliver(result), 0
        elif op is Op.WAIT:
            self._ticket = result.ticket
            self._left = result.now
        else:
            self._begin(op, result)
        self.proceed()

    def _begin(self, op: Op, result: Any) -> None:
        """Take what the broker says of the mailbox."""
        members: dict[str, Any] = {}
        if op is Op.STREAM:
            members["position"] = self._delivery.begin(result)
            if self._opened and self._number:
                self._owner.table.streams.cancel(self.mailbox.names, 0, self._number, self._owner.request_id)
            self._number = result.number
        self._lost = False
        if not self._opened:
            self._opened = True
            if self.request.ref is not None:
                self._owner.send(answers.ok(self.request.ref, members))

    def proceed(self, gathered: bool = False) -> None:
        """Do what comes next, where it is not waiting for an answer."""
        if self._reply is not None or self._at in (ENDED, RESTING, QUEUED) or not self._opened:
            return
        if self.stopped:
            self._end_stopped()
        elif not self._left:
            self._wait()
        elif min(self.window.room()) <= 0:
            self._at = FULL
            if self.window.unconfirmed is not None:
                self.open()
            elif isinstance(self.window, LeaseWindow):
                self._owner.wake_at(time.monotonic() + EXPIRY_S)
        elif self.window.scarce and not gathered:
            self._gather()
        elif not self._owner.may_fetch():
            self._hold()
        else:
            self._queue()

    def _gather(self) -> None:
        self._at = SCARCE
        if not self._gathering:
            self._gathering = True
            self._owner.outlet.after(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        if self._at == SCARCE:
            guarded(self, self.proceed, True)

    def _hold(self) -> None:
        if self._at != HELD:
            self._at = HELD
            self._owner.hold(self)

    def _queue(self) -> None:
        self._at = QUEUED
        self._owner.table.streams.want_read(self, large=self._size > 0)

    def failed(self, error: FanmailError) -> None:
        """End, or ask again later where the broker, or this front, may then be able to answer."""
        if self._at == ENDED:
            return
        if not self._opened:
            self._end(error)
        elif error.code == "answer-too-large" and self._at == READING:
            self._size = int(str(error.fields.get("size", 0)))
            self._queue()
        elif error.spec.status in (503, 504) or error.code == "too-many-leases":
            self._rest(error)
        else:
            self._end(error)

    def look_again(self, error: FanmailError, unconfirmed: tuple[str, int] | None = None) -> None:
        """Open it anew, as an acknowledgement failed; `unconfirmed` is one that is to be repeated then."""
        self.window.unconfirmed = unconfirmed or self.window.unconfirmed
        if self._at in (FULL, SCARCE, HELD):  # otherwise it asks the broker anyway
            self._lost = True
            self._rest(error)

    def _rest(self, error: FanmailError) -> None:
        pause_s = self._patience.pause(now := time.monotonic())
        if self.stopped:
            self._end_stopped()
        elif pause_s is None:
            self._end(error)
        else:
            self._at = RESTING
            self._lost = self._lost or (self.request.mode == AFTER and error.code not in BUSY)
            self._retry_at = now + pause_s
            self._owner.wake_at(self._retry_at)

    # --- time and end

    def timed(self, now: float) -> None:
        """Do what is due."""
        if self._at == RESTING and now < self._retry_at:
            self._owner.wake_at(self._retry_at)
        elif self._at == RESTING:
            self._at, self._left = FULL, True
            (self.open if self._lost else self.proceed)()
        elif self._at == WAITING and now >= self._wait_over:
            self._wait()  # the answer was lost
        elif self._at == FULL and isinstance(self.window, LeaseWindow):
            self.window.drop_expired(now)
            self.proceed()

    def end_at(self, when: float) -> None:
        """Do nothing: the session ends."""

    def stop(self, then: Callable[[], None]) -> None:
        """End, and call `then` once no message of this read is sent any more."""
        self.stopped.append(then)
        if self._at not in (READING, OPENING):
            self._end_stopped()

    def _end_stopped(self) -> None:
        self.close()
        self._over(self)
        for then in self.stopped:
            then()

    def _end(self, error: FanmailError) -> None:
        """Tell the client why."""
        if not self._opened:
            ref = self.request.ref
            self._owner.send(answers.failed(ref, {} if ref is not None else self.mailbox.members(), error))
        elif not self.stopped:
            self._delivery.end(error)
        self._end_stopped()

    def close(self) -> None:
        """End without a word."""
        wait_id = self._wait_id if self._at == WAITING and self._reply is not None else 0
        self._at, self._reply = ENDED, None
        if wait_id or self._number:
            self._owner.table.streams.cancel(self.mailbox.names, wait_id, self._number, self._owner.request_id)
