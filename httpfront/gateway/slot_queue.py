"""The calls of one slot that cannot be sent now, because the slot is moving to another broker.

While a call of a slot waits to be sent again, later ones queue behind it. The first of them is the probe: it is sent
again, ever less often, and when a broker has executed it, the others follow in order. Nothing is sent before all that
was sent earlier is answered: some of it may have been refused, and belongs before the others.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from httpfront.gateway.broker_socket import BrokerSocket
from httpfront.gateway.call import Answer, Call, Waiting

MOST_CALLS, MOST_BYTES = 4096, 32 * 1024 * 1024
"""Calls, and bytes of requests and bodies, that one slot may have waiting; beyond them calls are refused."""
FIRST_S, LONGEST_S, PART = 0.004, 0.25, 16
"""Time until the probe is sent again: this part of the time that the queue exists, within these limits."""
EACH_S = 0.00025
"""The same per queue that the front has: all probes together are about 4,000 per second at most."""
ABSENT_S = 1.0
"""Time that a queue waits for a broker that cannot be reached; it may have started just now."""


class SlotQueue:
    """Belongs to the hub's thread."""

    def __init__(self, slot: int, now: float) -> None:
        self.slot = slot
        self.probe: Call | None = None
        """The call that was sent and has no answer yet."""
        self.timed = False
        """Whether the probe will be sent at a certain time."""
        self.asked = ""
        """The broker that was asked last."""
        self.code = "moving"
        """Why the calls wait: the code of the last refusal."""
        self.ahead: list[tuple[BrokerSocket, Call]] = []
        """Calls that were sent before the queue began, and have no answer yet: nothing may overtake them."""
        self.absent_since = 0.0
        """When the owner could not be reached for the first time since the last answer; 0: it could."""
        self._began = now
        self._calls: list[Call] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call, *, always: bool = False) -> bool:
        """Put a call in its place, in the order in which calls were begun.

        Return False where there is no room, unless it is to be added `always`.
        """
        size = size_of(call)
        full = len(self._calls) >= MOST_CALLS or (self._calls and self._bytes + size > MOST_BYTES)
        if full and not always:
            return False
        self._bytes += size
        insort(self._calls, call, key=_order)
        return True

    def must_wait(self) -> bool:
        """Return whether a call that was sent before is not answered yet; one that is lost in a silence is given up."""
        left = []
        for socket, call in self.ahead:
            if not socket.awaits(call):
                continue
            if socket.status.up:
                left.append((socket, call))
            else:
                call.overtaken = True
        self.ahead = left
        return bool(left)

    def take_first(self) -> Call:
        """Remove and return the first call."""
        call = self._calls.pop(0)
        self._bytes -= size_of(call)
        return call

    def take_all(self) -> list[Call]:
        """Remove and return all calls, in order."""
        calls, self._calls, self._bytes = self._calls, [], 0
        return calls

    def take_overdue(self, now: float) -> list[Call]:
        """Remove and return the calls whose time is over."""
        late = [call for call in self._calls if call.until <= now]
        if late:
            self._calls = [call for call in self._calls if call.until > now]
            self._bytes -= sum(map(size_of, late))
        return late

    def pause_s(self, now: float, queues: int) -> float:
        """Return how long to wait before the probe is sent again, where the front has this number of queues."""
        return min(LONGEST_S, max(FIRST_S, queues * EACH_S, (now - self._began) / PART))


class Probe:
    """Stands in for the greenlet of the first call of a queue: tells the queue that it was answered."""

    def __init__(self, waiting: Waiting, answered: Callable[[], None]) -> None:
        self.waiting = waiting
        self._answered = answered

    def switch(self, answer: Answer) -> None:
        """Let the others follow, and give the answer to who waits for it."""
        self._answered()
        self.waiting.switch(answer)


def size_of(call: Call) -> int:
    """Return the bytes that a waiting call holds."""
    return len(call.packed) + len(call.body or b"")


def _order(call: Call) -> int:
    return call.id
