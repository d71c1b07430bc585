"""The operations of a session under way: what is sent when, and what a failure means. Nothing here does I/O.

An operation that fails with 503, or whose answer is lost with its connection, is sent again if it is not too late and
if repeating it changes nothing: the rules of `exchange`, for many operations under way.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from fanmail.errors import FanmailError, NotFound, OutcomeUnknown, ServerFault
from fanmail.exchange import final_error
from fanmail.flow import Environment
from fanmail.retry import Retries
from fanmail.session.ops import Members
from fanmail.session.pending import Lane, Pending, Together, with_those_behind

MAX_TURN_BYTES = 128 * 1024
"""The bytes after which what is sent in one turn ends."""


class Lanes:
    """All operations that are not settled."""

    def __init__(self, retries: Retries, environment: Environment) -> None:
        self._retries, self._environment = retries, environment
        self._numbers = itertools.count(1)
        self._lanes: dict[Hashable, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._held: list[Lane] = []
        self._sent: dict[int, Pending] = {}
        self._is_open = False
        self._takes_lists = True
        """Whether leases are acknowledged together, until a server refuses that: one of an older version does."""

    def __bool__(self) -> bool:
        return bool(self._lanes)

    @property
    def under_way(self) -> int:
        """The number of operations that the server has to answer."""
        return len(self._sent)

    def next_number(self) -> int:
        """Return the number of a new operation. Any thread may call this."""
        return next(self._numbers)

    def new_end(self) -> float:
        """Return the time after which an operation that begins now is not tried again."""
        total = self._retries.total
        return math.inf if total is None else self._environment.clock() + total

    def submit(self, pending: Pending) -> None:
        """Send an operation as soon as may be, and settle it."""
        lane = self._lane(pending.op.lane)
        lane.queue.append(pending)
        self._make_ready(lane)

    def take(self) -> list[bytes]:
        """Return the texts that may be sent now, up to some size."""
        texts: list[bytes] = []
        size = 0
        while self._ready:
            lane = self._ready[0]
            while lane.queue and not lane.again:
                if size >= MAX_TURN_BYTES:
                    return texts
                pending = lane.queue.popleft()
                if pending.op.receipt and self._takes_lists:
                    pending = with_those_behind(pending, lane.queue)
                self._sent[pending.number] = pending
                lane.under_way += 1
                texts.append(pending.encode())
                size += len(texts[-1])
            self._ready.popleft().is_ready = False
        return texts

    def answer(self, number: int, members: Members, error: FanmailError | None) -> None:
        """Settle the operation that is answered, or send it again. Raises LookupError if there is none."""
        pending = self._sent.pop(number)
        lane = self._lanes[pending.op.lane]
        lane.under_way -= 1
        if error is None:
            lane.failures = 0
            self._settle(pending, members)
        elif pending.unknown and pending.op.gone_is_done and isinstance(error, NotFound):
            self._settle(pending, {})
        elif isinstance(pending, Together) and error.status == 400:
            self._takes_lists = False
            lane.queue.extendleft(reversed(pending.parts))
            self._make_ready(lane)
        elif not self._retry(lane, pending, error):
            pending.settle(None, error)
        self._tidy(lane)

    def opened(self) -> None:
        """Begin to send on a new connection."""
        self._is_open = self._takes_lists = True
        for lane in self._lanes.values():
            lane.begin_again()
            self._make_ready(lane)

    def lost(self, error: FanmailError) -> None:
        """Note the end of the connection. What was sent and may not be repeated has an unknown outcome."""
        self._is_open = False
        self._held.clear()
        for lane in self._ready:
            lane.is_ready = False
        self._ready.clear()
        sent, self._sent = self._sent, {}
        for pending in sent.values():
            lane = self._lane(pending.op.lane)
            lane.under_way -= 1
            pending.unknown = True
            if pending.op.repeatable and self._retries.total != 0:
                lane.again.append(pending)
            else:
                pending.settle(None, OutcomeUnknown(error.detail))
            self._tidy(lane)

    def fail(self, error: FanmailError) -> None:
        """Settle all that is not under way with an error that no retry cures."""
        self._drain(lambda pending: True, error)

    def expire(self, now: float, error: FanmailError) -> None:
        """Settle what is not under way and whose time is over `now`; `error` is that of the last try."""
        self._drain(lambda pending: pending.ends <= now, error)

    def refuse_largest(self, error: FanmailError) -> None:
        """Settle the largest operation of those that were under way: the server ended the connection for its size."""
        tried = [each for lane in self._lanes.values() for each in lane.again]
        if tried:
            largest = max(tried, key=lambda each: len(each.data))
            largest.unknown = False
            self._drain(lambda pending: pending is largest, error)

    def release_due(self) -> None:
        """Go on with the lanes that were held after a failure, if it is time to."""
        now = self._environment.clock()
        for lane in [each for each in self._held if each.held_until <= now]:
            self._held.remove(lane)
            lane.begin_again()
            self._make_ready(lane)

    def next_due(self) -> float:
        """Return when to call `release_due`, in seconds of the clock."""
        return min((lane.held_until for lane in self._held), default=math.inf)

    def _retry(self, lane: Lane, pending: Pending, error: FanmailError) -> bool:
        """Keep an operation that failed for another try, if it may have one."""
        retries, environment = self._retries, self._environment
        if retries.total == 0 or not retries.allows(error, pending.op.repeatable):
            return False
        pending.unknown = pending.unknown or isinstance(error, OutcomeUnknown)
        now = environment.clock()
        if not lane.again:
            lane.failures += 1
            lane.held_until = now + retries.pause(lane.failures, error.retry_after, environment.random())
        if lane.held_until >= pending.ends:
            pending.settle(None, final_error(error, pending.unknown))
            return True
        if retries.on_retry and not lane.again:
            retries.on_retry(error)
        lane.again.append(pending)
        return True

    def _settle(self, pending: Pending, members: Members) -> None:
        try:
            result: Any = pending.op.parse(members)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            pending.settle(None, ServerFault(f"the answer is not from Fanmail: {error!r}"))
        else:
            pending.settle(result, None)

    def _drain(self, is_over: Callable[[Pending], bool], error: FanmailError) -> None:
        for lane in list(self._lanes.values()):
            over = [each for each in (*lane.again, *lane.queue) if is_over(each)]
            if over:
                lane.again = [each for each in lane.again if not is_over(each)]
                lane.queue = deque(each for each in lane.queue if not is_over(each))
                self._tidy(lane)
            for pending in over:
                pending.settle(None, final_error(error, pending.unknown))

    def _lane(self, key: Hashable) -> Lane:
        found = self._lanes.get(key)
        if found is None:
            found = self._lanes[key] = Lane(key)
        return found

    def _make_ready(self, lane: Lane) -> None:
        if self._is_open and lane.queue and not lane.is_ready and not lane.again and lane not in self._held:
            lane.is_ready = True
            self._ready.append(lane)

    def _tidy(self, lane: Lane) -> None:
        """Hold a lane of which everything under way is answered and something failed; forget one without anything."""
        if lane.again and not lane.under_way and self._is_open and lane not in self._held:
            self._held.append(lane)
        elif lane.is_empty and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
            if lane in self._held:
                self._held.remove(lane)
