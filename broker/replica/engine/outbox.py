"""What happened in the thread of the client, for the thread of the broker: a queue and a descriptor to poll."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress

from broker.replica.log import Entries, Event, Reported

MOST_REPORTS = 100
"""Reports that wait; more are dropped, as any may be."""


class Outbox:
    """Events in order. One thread puts, another takes."""

    def __init__(self) -> None:
        self.fileno = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: deque[Event] = deque()
        self._signalled = False
        self._put_bytes = self._taken_bytes = 0
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Return the bytes of entries that nobody has taken."""
        return self._put_bytes - self._taken_bytes

    def put(self, event: Event) -> None:
        """Add an event, and make the descriptor readable."""
        if isinstance(event, Entries):
            self._put_bytes += size_of(event)
        elif isinstance(event, Reported) and len(self._events) >= MOST_REPORTS:
            return
        self._events.append(event)
        # Behind the append: who takes resets it first and looks into the queue then.
        if not self._signalled and not self._closed:
            self._signalled = True
            os.eventfd_write(self.fileno, 1)

    def take(self) -> list[Event]:
        """Return all events so far."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fileno)
        self._signalled = False
        events = [self._events.popleft() for _ in range(len(self._events))]
        self._taken_bytes += sum(size_of(each) for each in events if isinstance(each, Entries))
        return events

    def close(self) -> None:
        """Close the descriptor. The other thread must have ended."""
        if not self._closed:
            self._closed = True
            os.close(self.fileno)


def size_of(entries: Entries) -> int:
    """Return the bytes of entries."""
    return sum(len(data) for _, data in entries.entries)
