"""All operations and reads of a session, whichever connection it has. Nothing here does I/O.

One thread, that of the event loop, uses it, except where its methods say otherwise.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from fanmail.consumer import explained
from fanmail.errors import FanmailError, NoSubscription, OutcomeUnknown, ServerFault, Unavailable
from fanmail.flow import Environment
from fanmail.message import Message
from fanmail.retry import Retries
from fanmail.session import ops
from fanmail.session.lanes import Lanes
from fanmail.session.ops import Members, Op
from fanmail.session.pending import Pending, Settle
from fanmail.session.reads import Read, log
from fanmail.streaming import problem_of


class SessionState:
    """What a session has to do."""

    def __init__(self, retries: Retries, environment: Environment) -> None:
        self._environment = environment
        self.lanes: Lanes = Lanes(retries, environment)
        self._reads: dict[tuple[str, str], Read] = {}
        self._following: dict[tuple[str, str], Read] = {}
        """Reads that begin when the one before has stopped."""
        self._when_begun: dict[Read, tuple[Callable[[], None], Settle]] = {}
        """Of reads that stop before they have begun: what stops them, and what to call then."""
        self._notes: deque[bytes] = deque()
        """Texts that get no answer."""
        self._is_open = False
        self._look_at = 0.0
        """When leases are looked at next."""

    @property
    def is_idle(self) -> bool:
        """Whether there is no reason to be connected."""
        return not self.lanes and not self._reads

    def new_pending(self, op: Op[Any], settle: Settle) -> Pending:
        """Return an operation to `submit`. Any thread may call this. Raises ValueError for what JSON cannot carry."""
        op = op.with_key(self._environment.new_key)
        return Pending(op, self.lanes.next_number(), self.lanes.new_end(), settle)

    def submit(self, pending: Pending) -> None:
        """Send an operation as soon as may be, and settle it."""
        members = pending.op.members
        if members["op"] in ("ack", "nack"):
            read = self._reads.get((members["topic"], members["user"]))
            if read is not None:
                read.leased.pop(members.get("receipt", ""), None)  # it is not extended any more
                pending.settle = self._ending(read, pending.settle)
        self.lanes.submit(pending)

    def take_output(self) -> list[bytes]:
        """Return the texts that may be sent now, up to some size."""
        notes = list(self._notes)
        self._notes.clear()
        return notes + self.lanes.take()

    def receive(self, text: str | bytes | bytearray) -> None:
        """Take in one frame. Raises ServerFault for what is not from Fanmail."""
        try:
            members = json.loads(text)
            kind, number = members["op"], members.get("ref")
            if kind == "message":
                self._deliver(members)
            elif kind in ("ok", "error") and number is not None:
                self.lanes.answer(number, members, problem_of(members) if kind == "error" else None)
            elif kind in ("gap", "end"):
                self._tell(kind, members)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise ServerFault(f"a frame of the session is not from Fanmail: {error!r}") from error

    def opened(self) -> None:
        """Begin to send on a new connection."""
        self._is_open = True
        self.lanes.opened()

    def lost(self, error: FanmailError) -> None:
        """Note the end of the connection. Reads continue on the next one."""
        self._is_open = False
        self._notes.clear()
        self.lanes.lost(error)
        for read in list(self._reads.values()):
            read.open_since = math.inf
            for message in read.void():
                self._give_back(message)
            if read.is_begun and not read.is_stopping and not read.is_paused:
                self._begin(read)

    def fail(self, error: FanmailError, of_reads: FanmailError | None) -> None:
        """End all operations with an error that no retry cures, and all reads. There is no connection."""
        following, self._following = self._following, {}
        for read in following.values():
            read.put(of_reads)
        for read in list(self._reads.values()):
            self._drop(read, of_reads)
        self.lanes.fail(error)

    def stop_all(self) -> None:
        """End all reads, and their loops."""
        for read in list(self._reads.values()):
            self.stop_read(read, lambda *_: None)

    def release_due(self) -> None:
        """Do what is due: go on after pauses, and extend leases."""
        self.lanes.release_due()
        now = self._environment.clock()
        leases = self._leases() if self._is_open and now >= self._look_at else []
        if leases:
            self._look_at = now + min(read.lease for read in leases) / 6
            for read in leases:
                self._notes.extend(op.encode(None) for op in read.extensions(now))

    def next_due(self) -> float:
        """Return when to call `release_due`, in seconds of the clock."""
        return min(self.lanes.next_due(), self._look_at if self._is_open and self._leases() else math.inf)

    def open_read(self, read: Read) -> None:
        """Begin to read a mailbox, after a read of it that is stopping. Another one is an error in its loop."""
        key = (read.topic, read.user)
        before = self._reads.get(key)
        if before is None:
            self._reads[key] = read
            self._begin(read)
        elif before.is_stopping and key not in self._following:
            self._following[key] = read
        else:
            read.put(ValueError(f"this session reads {read.topic!r} of {read.user!r} already"))

    def confirm(self, read: Read) -> None:
        """Acknowledge what is handled, if it is not being done; in mode `take`, have more come.

        What fails is acknowledged with the next one.
        """
        if read.mode == "take":
            self._resume(read)
            return
        handled = read.handled
        if read.is_confirming or handled is None or handled == read.confirmed:
            return
        read.is_confirming = True

        def settle(_: None, error: FanmailError | None) -> None:
            read.is_confirming = False
            if error is None:
                read.confirmed = handled
                self.confirm(read)
            elif read.is_stopping or not isinstance(error, NoSubscription):
                log.warning("could not acknowledge %s: %s", handled, error)

        op = ops.advance(read.topic, read.user, handled)
        self.lanes.submit(self.new_pending(op, self._ending(read, settle)))

    def stop_read(self, read: Read, settle: Settle) -> None:
        """End a read: acknowledge what is handled, and give back what its caller did not get."""
        if self._reads.get((read.topic, read.user)) is not read or read.is_stopping:
            settle(None, None)
            return
        read.is_stopping = True
        for message in read.void():
            self._give_back(message)
        read.is_confirming = False
        if read.mode == "after":
            self.confirm(read)

        def stop() -> None:
            self.lanes.submit(self.new_pending(ops.stop(read.topic, read.user), stopped))

        def stopped(result: None, error: FanmailError | None) -> None:
            self._drop(read, None)
            settle(result, error)

        if read.is_paused and not read.is_begun:
            stopped(None, None)
        elif read.is_begun:
            stop()
        else:  # a front need not know of a read that it has not answered
            self._when_begun[read] = (stop, settle)

    def _pause(self, read: Read) -> None:
        """Stop a read until its loop has caught up."""
        read.is_paused, read.open_since = True, math.inf

        def paused(_: None, error: FanmailError | None) -> None:
            if self._reads.get((read.topic, read.user)) is read and not read.is_stopping:
                read.is_begun = False
                self._resume(read)

        self.lanes.submit(self.new_pending(ops.stop(read.topic, read.user), paused))

    def _resume(self, read: Read) -> None:
        if read.is_paused and not read.is_begun and not read.is_stopping and read.has_caught_up:
            read.is_paused = False
            self._begin(read)

    def _begin(self, read: Read) -> None:
        read.is_begun, read.open_since = False, math.inf

        def settle(_: None, error: FanmailError | None) -> None:
            read.is_begun, read.open_since = True, self._environment.clock()
            stop, stopped = self._when_begun.pop(read, (None, None))
            if error is not None:
                self._drop(read, error)
                if stopped is not None:
                    stopped(None, None)
            elif stop is not None:
                stop()

        self.lanes.submit(_ReadPending(read, self.new_pending(read.op(), settle)))

    def _deliver(self, members: Members) -> None:
        read = self._reads.get((members["topic"], members["user"]))
        if read is not None:
            refused = read.receive(members, self._environment.clock())
            if refused is not None:
                self._give_back(refused)
            if read.is_behind and read.is_begun and not read.is_paused and not read.is_stopping:
                self._pause(read)

    def _tell(self, kind: str, members: Members) -> None:
        read = self._reads.get((members["topic"], members["user"]))
        if read is None:
            return
        if kind == "gap":
            read.tell_gap(members["from"], members["position"])
            return
        if not read.is_begun:  # it is of the read before, which an acknowledgement has ended
            return
        error = problem_of(members)
        if isinstance(error, Unavailable | OutcomeUnknown) and not read.is_stopping:
            self._begin(read)
        else:
            self._drop(read, error)

    def _ending(self, read: Read, settle: Settle) -> Settle:
        """Return what settles an acknowledgement, and ends its read if there is no such subscription any more.

        The server is told, as one that waits for acknowledgements may not have noticed.
        """

        def settled(result: Any, error: FanmailError | None) -> None:
            settle(result, error)
            if not isinstance(error, NoSubscription) or read.is_stopping:
                return
            if self._reads.get((read.topic, read.user)) is read:
                self._notes.append(ops.stop(read.topic, read.user).encode(None))
                self._drop(read, error)

        return settled

    def _drop(self, read: Read, error: FanmailError | None) -> None:
        """Forget a read, and tell its loop why."""
        key = (read.topic, read.user)
        if self._reads.get(key) is not read:
            return
        del self._reads[key]
        after = read.handled or "0"
        read.put(explained(error, *key, after) if isinstance(error, NoSubscription) else error)
        following = self._following.pop(key, None)
        if following is not None:
            self.open_read(following)

    def _give_back(self, message: Message) -> None:
        """Give a message back that the caller did not get. Where that fails, its lease runs out."""
        self.submit(self.new_pending(ops.give_back(message), lambda *_: None))

    def _leases(self) -> list[Read]:
        return [read for read in self._reads.values() if read.leased and not read.is_stopping]


class _ReadPending(Pending):
    """The operation that begins a read, which may be sent again when more is handled."""

    __slots__ = ("_read",)

    def __init__(self, read: Read, pending: Pending) -> None:
        super().__init__(pending.op, pending.number, pending.ends, pending.settle)
        self._read = read

    def encode(self) -> bytes:
        """Return the text with the cursor of now."""
        return self._read.op().encode(self.number)
