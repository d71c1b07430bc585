"""How many bytes a front may have in flight to one broker, and the calls that wait for room. No sockets here."""

from __future__ import annotations

from collections import deque

from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.call import Call


class Windows:
    """The broker sets how many bytes of bodies, and of answers, this front may have in flight.

    One request is always admitted. Calls that are neither large nor ask for much never wait.
    """

    def __init__(self, status: BrokerStatus) -> None:
        self._status = status
        self.bodies = self.answers = 0
        """Bytes in flight."""
        self.held: deque[Call] = deque()
        """Calls that wait for room, in order."""

    @property
    def waiting(self) -> int:
        """Number of calls that wait for room."""
        return len(self.held)

    def admit(self, call: Call) -> bool:
        """Count a call and return True where it may be sent now; else queue it."""
        if call.body is None and not call.room:
            return True
        body, room = len(call.body or b""), call.room
        if self.held or not self._fits(body, room):
            self.held.append(call)
            return False
        self._count(body, room)
        return True

    def over(self, call: Call) -> None:
        """Give back the room of a call that is answered or given up."""
        if call.body is None and not call.room:
            return
        self._count(-len(call.body or b""), -call.room)

    def next(self) -> list[Call]:
        """Return the queued calls that may be sent now."""
        ready = []
        while self.held:
            body, room = len(self.held[0].body or b""), self.held[0].room
            if not self._fits(body, room):
                break
            self._count(body, room)
            ready.append(self.held.popleft())
        return ready

    def overdue(self, now: float) -> list[Call]:
        """Remove and return the queued calls whose time is over."""
        late = [call for call in self.held if call.expires <= now]
        if late:
            self.held = deque(call for call in self.held if call.expires > now)
        return late

    def withdraw(self, slot: int) -> list[Call]:
        """Remove and return the queued calls of a slot."""
        found = [call for call in self.held if call.slot == slot]
        if found:
            self.held = deque(call for call in self.held if call.slot != slot)
        return found

    def give_up(self) -> list[Call]:
        """Remove and return all queued calls."""
        held, self.held = self.held, deque()
        return list(held)

    def _fits(self, body: int, room: int) -> bool:
        most_bodies, most_answers = self._status.windows
        return (not body or not self.bodies or not most_bodies or self.bodies + body <= most_bodies) and (
            not room or not self.answers or not most_answers or self.answers + room <= most_answers
        )

    def _count(self, body: int, room: int) -> None:
        self.bodies += body
        self.answers += room
