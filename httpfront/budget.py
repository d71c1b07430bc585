"""The bytes of bodies and answers that a front has under way: counted, bounded and shared out. No sockets here.

Whoever waits for their client (a body that arrives, an answer that is read) can be asked to give way; what waits for a
broker cannot, so its answer's room is reserved before the broker is asked.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from common.errors import FanmailError
from common.units import KIB

SMALL = 64 * KIB
"""Bytes of an answer that may begin while over half of the budget is used."""
FIRST = 16 * KIB
"""Bytes that are reserved for one message of unknown size where many are asked for at a time."""
LIGHT = 16
"""While this part of the budget is used at the most, as much is reserved for one message as it may have."""
STALL_S = 1.0
"""Seconds without progress after which a connection gives way to a message that is larger than that."""
SHARE = 4
"""One API key holds at most this part of the budget, or one request."""
UNBOUNDED = 2**62
"""The limit of a budget that only counts."""


class Budget:
    """Of one front, for all of its ports."""

    def __init__(self, limit: int, small: int = SMALL, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` in bytes. `clock` gives monotonic seconds."""
        self.limit = limit
        self.small = small
        self.clock = clock
        self.used = 0
        self.evicted = 0
        """Connections that had to give way."""
        self.by_key: dict[str, int] = {}
        """Bytes by the id of the API key; no key that holds nothing."""
        self.waiting: OrderedDict[Account, float] = OrderedDict()
        """Who waits for their client and may be asked to give way, and the time of their last progress; the longest
        without any first."""

    def make_room(self, wanted: int, most: int, asking: Account, stalled: float = 0.0) -> bool:
        """Whether `wanted` more bytes fit below `most`, after others than `asking` have given way who have made no
        progress for `stalled` seconds.
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
    """What one connection holds, and for whom."""

    __slots__ = ("_budget", "_held", "_key", "_pipelined", "_reserved", "evict")

    def __init__(self, budget: Budget, evict: Callable[[], None]) -> None:
        """`evict` drops what the connection holds for its client; it must not switch to another greenlet."""
        self._budget = budget
        self.evict = evict
        self._held = self._reserved = self._pipelined = 0
        self._key = ""

    @property
    def bounded(self) -> bool:
        """Whether there is a ceiling at all."""
        return self._budget.limit < UNBOUNDED

    @property
    def bytes(self) -> int:
        """All of it."""
        return self._held + self._reserved + self._pipelined

    def belongs_to(self, key: str) -> None:
        """From here on everything counts for this API key, "" for none."""
        if key != self._key:
            size = self.bytes
            self._count(-size)
            self._key = key
            self._count(size)

    def hold(self, size: int) -> None:
        """The connection holds `size` bytes now, whether there is room or not."""
        if size != self._held:
            self._count(size - self._held)
            self._held = size

    def grow(self, size: int) -> None:
        """The connection is to hold `size` bytes; others give way. Raises `front-busy` where there is no room."""
        more = size - self._held
        if more > 0:
            budget = self._budget
            if budget.used + more > budget.limit and not budget.make_room(more, budget.limit, self):
                raise front_busy("as many bytes of bodies and answers as it may hold are under way")
            if self._key and more > self._left_of_key():
                raise front_busy(f"the key {self._key} has as many bytes under way as one key may")
        self.hold(size)

    def hold_pipelined(self, size: int) -> bool:
        """Whether there is room for so many bytes that came behind a request, which are then counted. Their client can
        send them again, so that is below half of the budget only.
        """
        if self._budget.used + size > self._budget.limit // 2:
            return False
        self._count(size - self._pipelined)
        self._pipelined = size
        return True

    def progress(self) -> None:
        """The connection waits for its client, who has just done something."""
        waiting = self._budget.waiting
        waiting[self] = self._budget.clock()
        waiting.move_to_end(self)

    def stop_waiting(self) -> None:
        """The connection does not wait for its client any more."""
        self._budget.waiting.pop(self, None)

    def reserve(self, most: int) -> int:
        """Room for an answer of at most so many bytes, which is taken: returns how many there are.

        While over half of the budget is used, these are at most `small`. Raises `front-busy` where there is none.
        """
        budget = self._budget
        room = min(most, max(budget.limit // 2 - budget.used, budget.small))
        if self._key:
            room = min(room, self._left_of_key())
        if room <= 0 or not budget.make_room(room, budget.limit, self):
            raise front_busy("as many bytes of answers as it may hold are under way")
        self._count(room)
        self._reserved += room
        return room

    def reserve_one(self, usual: int) -> int:
        """Room for one message, which has `usual` bytes at the most as a rule; else as `reserve`."""
        budget = self._budget
        if budget.used + usual > budget.limit // LIGHT:
            usual = FIRST
        elif not self._key:
            budget.used += usual
            self._reserved += usual
            return usual
        return self.reserve(max(usual, FIRST))

    def reserve_exactly(self, size: int) -> int:
        """Room for an answer of this size, as `reserve`; who has been stalled for a while gives way."""
        budget = self._budget
        alone = budget.used == self.bytes
        most = budget.limit if alone or size <= budget.small else budget.limit // 2
        if (self._key and size > self._left_of_key()) or not budget.make_room(size, most, self, STALL_S):
            raise front_busy(f"the next message has {size} bytes, and there is no room for it just now")
        self._count(size)
        self._reserved += size
        return size

    def release(self) -> None:
        """Nothing is reserved any more."""
        if self._reserved:
            self._count(-self._reserved)
            self._reserved = 0

    def settle(self, size: int) -> None:
        """An answer was made: nothing is reserved, and the connection holds so many bytes for its client. Where that
        is more than there is room for, others give way.
        """
        self.release()
        self.hold(size)
        self.progress()
        if self._budget.used > self._budget.limit:
            self._budget.make_room(0, self._budget.limit, self)

    def clear(self) -> None:
        """The connection holds nothing."""
        if self._held or self._reserved or self._pipelined:
            self._count(-self.bytes)
            self._held = self._reserved = self._pipelined = 0
        self.stop_waiting()

    def _left_of_key(self) -> int:
        """Bytes that the key may still hold; a connection that is its only one may hold what any may."""
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
    """Nothing was done: 503, and again in a moment."""
    return FanmailError("front-busy", f"this front is busy: {detail}")
