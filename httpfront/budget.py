"""The bytes of bodies and answers in flight in a front: counted, bounded and shared out. No sockets here.

A connection that waits for its client (to send a body, or to read an answer) can be evicted. One that waits for a
broker cannot, so room for the answer is reserved before the broker is asked.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from common.errors import FanmailError
from common.units import KIB

SMALL = 64 * KIB
"""Bytes that may be reserved for one answer while over half of the budget is used."""
FIRST = 16 * KIB
"""Bytes reserved for one message of unknown size while more than 1/`LIGHT` of the budget is used."""
LIGHT = 16
"""While at most this part of the budget is used, the usual maximum is reserved for one message."""
STALL_S = 1.0
"""Seconds without progress after which a connection is evicted for a message of known size."""
SHARE = 4
"""One API key holds at most this part of the budget, or one request."""
UNBOUNDED = 2**62
"""The limit of a budget that only counts."""


class Budget:
    """The bytes of one front, for all of its ports."""

    def __init__(self, limit: int, small: int = SMALL, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the `limit` in bytes. `clock` returns monotonic seconds."""
        self.limit = limit
        self.small = small
        self.clock = clock
        self.used = 0
        self.evicted = 0
        """Connections evicted so far."""
        self.by_key: dict[str, int] = {}
        """Bytes by id of the API key; keys that hold nothing are left out."""
        self.waiting: OrderedDict[Account, float] = OrderedDict()
        """Connections that wait for their clients and may be evicted, with the time of their last progress;
        the longest stalled first."""

    def make_room(self, wanted: int, most: int, asking: Account, stalled: float = 0.0) -> bool:
        """Return whether `wanted` more bytes fit below `most`, after evicting others where needed.

        Evicts connections other than `asking` that have made no progress for `stalled` seconds, longest first.
        """
        if self.used + wanted <= most:
            return True
        latest = self.clock() - stalled
        while self.used + wanted > most:
            oldest = next((each for each in self.waiting if each is not asking), None)
            if oldest is None or self.waiting[oldest] > latest:
                return False
            del self.waiting[oldest]
            self.evicted += 1
            oldest.evict()
            oldest.hold(0)
        return True


class Account:
    """What one connection holds, counted for its API key."""

    __slots__ = ("_budget", "_held", "_key", "_pipelined", "_reserved", "evict")

    def __init__(self, budget: Budget, evict: Callable[[], None]) -> None:
        """Set what evicts the connection. It drops what is held, and must not switch to another greenlet."""
        self._budget = budget
        self.evict = evict
        self._held = self._reserved = self._pipelined = 0
        self._key = ""

    @property
    def bounded(self) -> bool:
        """Whether the budget has a limit."""
        return self._budget.limit < UNBOUNDED

    @property
    def bytes(self) -> int:
        """Bytes held, reserved and pipelined."""
        return self._held + self._reserved + self._pipelined

    def belongs_to(self, key: str) -> None:
        """Count everything for this API key from now on; "" for none."""
        if key != self._key:
            size = self.bytes
            self._count(-size)
            self._key = key
            self._count(size)

    def hold(self, size: int) -> None:
        """Set the bytes that the connection holds, whether there is room or not."""
        if size != self._held:
            self._count(size - self._held)
            self._held = size

    def grow(self, size: int) -> None:
        """Set the bytes that the connection holds, and evict others for them.

        Raises `front-busy` where there is no room.
        """
        more = size - self._held
        budget = self._budget
        if more > 0:
            if budget.used + more > budget.limit and not budget.make_room(more, budget.limit, self):
                raise front_busy("bodies and answers in flight have reached its memory limit")
            if self._key and more > self._left_of_key():
                raise front_busy(f"the key {self._key} has reached its share of the memory")
        if self._key:
            self._count(more)
        else:
            budget.used += more
        self._held = size

    def hold_pipelined(self, size: int) -> bool:
        """Count bytes that arrived behind a request; return False where there is no room for them.

        The client can send them again, so they get room below half of the budget only.
        """
        if self._budget.used + size > self._budget.limit // 2:
            return False
        self._count(size - self._pipelined)
        self._pipelined = size
        return True

    def progress(self) -> None:
        """Record that the client, for which the connection waits, has just made progress."""
        budget = self._budget
        budget.waiting[self] = budget.clock()
        budget.waiting.move_to_end(self)

    def stop_waiting(self) -> None:
        """Record that the connection does not wait for its client any more."""
        self._budget.waiting.pop(self, None)

    def reserve(self, most: int) -> int:
        """Reserve room for an answer of at most `most` bytes; return how many were reserved.

        While over half of the budget is used, these are at most `small`. Raises `front-busy` where there is none.
        """
        budget = self._budget
        room = min(most, max(budget.limit // 2 - budget.used, budget.small))
        if self._key:
            room = min(room, self._left_of_key())
        if room <= 0 or not budget.make_room(room, budget.limit, self):
            raise front_busy("answers in flight have reached its memory limit")
        self._count(room)
        self._reserved += room
        return room

    def reserve_one(self, usual: int) -> int:
        """Reserve room for one message of usually at most `usual` bytes; otherwise as `reserve`."""
        budget = self._budget
        if budget.used + usual > budget.limit // LIGHT:
            usual = FIRST
        elif not self._key:
            budget.used += usual
            self._reserved += usual
            return usual
        return self.reserve(max(usual, FIRST))

    def reserve_exactly(self, size: int) -> int:
        """Reserve room for an answer of this size, as `reserve`; evicts stalled connections."""
        budget = self._budget
        alone = budget.used == self.bytes
        most = budget.limit if alone or size <= budget.small else budget.limit // 2
        if (self._key and size > self._left_of_key()) or not budget.make_room(size, most, self, STALL_S):
            raise front_busy(f"there is no room now for the next message of {size} bytes")
        self._count(size)
        self._reserved += size
        return size

    def release(self) -> None:
        """Give back what is reserved."""
        if self._reserved:
            self._count(-self._reserved)
            self._reserved = 0

    def give_back(self, size: int) -> None:
        """Give back a part of what is reserved: that of one answer of several."""
        self._count(-size)
        self._reserved -= size

    def settle(self, size: int) -> None:
        """Hold an answer of this size in place of what is reserved, and evict others where that is too much."""
        self.release()
        self.hold(size)
        self.progress()
        if self._budget.used > self._budget.limit:
            self._budget.make_room(0, self._budget.limit, self)

    def clear(self) -> None:
        """Give back everything."""
        held = self._held + self._reserved + self._pipelined
        if held:
            if self._key:
                self._count(-held)
            else:
                self._budget.used -= held
            self._held = self._reserved = self._pipelined = 0
        self._budget.waiting.pop(self, None)

    def _left_of_key(self) -> int:
        """Return the bytes that the key may still hold; its only connection may hold as much as any."""
        budget = self._budget
        of_others = budget.by_key.get(self._key, 0) - self.bytes
        return budget.limit if not of_others else budget.limit // SHARE - of_others - self.bytes

    def _count(self, more: int) -> None:
        budget = self._budget
        budget.used += more
        if self._key:
            size = budget.by_key.get(self._key, 0) + more
            if size:
                budget.by_key[self._key] = size
            else:
                budget.by_key.pop(self._key, None)


def front_busy(detail: str) -> FanmailError:
    """Return the error for "nothing was done, try again shortly" (503)."""
    return FanmailError("front-busy", f"this front is busy: {detail}")
