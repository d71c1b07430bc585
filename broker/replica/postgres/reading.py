"""Deliver the entries of a log: all from a position on, or one.

What is visible may not be with the standbys yet: after a crash, or where an administrator has ended the wait of a
commit. So whatever is new here is delivered behind a commit of ours, which waits for the standbys in its turn.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from broker.replica.engine.outbox import Outbox
from broker.replica.engine.threaded_log import AHEAD_BYTES, LostError
from broker.replica.log import Entries, Missing
from broker.replica.postgres import tables
from broker.replica.postgres.session import Failures, Session

POLL_S = 0.25
"""Interval of polls; a notification makes one at once."""
AGAIN_S = 0.1
"""Interval of attempts where the server does not answer."""
BATCH_BYTES = 4 * 2**20
"""Of one answer, unless one entry is larger."""


class Found(NamedTuple):
    """What is there from a position on."""

    first: int
    last: int
    entries: list[tuple[int, bytes]]


class Reading:
    """Reads one log for one reader. Used in the thread of the event loop."""

    def __init__(self, session: Session, log_id: bytes, outbox: Outbox) -> None:
        self._session, self._log_id, self._outbox = session, log_id, outbox
        self._wake = asyncio.Event()
        self._next = self._wanted = 0
        """What is delivered next, and the position of the read that is not answered; 0: none."""
        self._followed = 0
        """Counts what was followed, so that what was fetched for a former one is not delivered."""
        self.durable = 0
        """Everything up to this position is with the standbys."""

    def wake(self) -> None:
        """Look at once: there may be something new, or room for it."""
        self._wake.set()

    def follow(self, first: int) -> None:
        """Deliver all entries from `first` on; 0: none."""
        self._next = first
        self._followed += 1
        self.wake()

    def read(self, position: int) -> None:
        """Deliver one entry, or that it is missing."""
        self._wanted = position
        self.wake()

    async def run(self) -> None:
        """Deliver what is asked for. Raises `LostError`."""
        while True:
            self._wake.clear()
            try:
                more = await self._look()
            except Failures:
                self._session.cut()
                await asyncio.sleep(AGAIN_S)
                continue
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)

    async def _look(self) -> bool:
        """Deliver what there is; return whether there may be more at once."""
        if self._wanted:
            await self._answer(self._wanted)
        if not self._next or self._outbox.held_bytes >= AHEAD_BYTES:
            return False
        mine, position = self._followed, self._next
        found = await self._find(position)
        if position >= found.first and not found.entries:
            return False
        if found.entries:
            await self._settle(found.entries[-1][0])
        if mine != self._followed:
            return True
        if position < found.first:
            self._next = 0
            self._outbox.put(Missing(position, found.first, found.last))
            return False
        self._next = found.entries[-1][0] + 1
        self._outbox.put(Entries(found.entries))
        return found.last >= self._next

    async def _answer(self, position: int) -> None:
        found = await self._find(position)
        # Also where nothing is there: a server that was replaced by another one cannot commit any more.
        await self._settle(found.entries[-1][0] if found.entries else self.durable + 1)
        if self._wanted == position:
            self._wanted = 0
        there = position >= found.first and found.entries
        self._outbox.put(Entries(found.entries) if there else Missing(position, found.first, found.last))

    async def _find(self, position: int) -> Found:
        arguments = {"log": self._log_id, "position": position, "most_bytes": BATCH_BYTES}
        rows = await self._session.run(tables.READ, **arguments)
        if not rows:
            raise LostError(f"PostgreSQL has no log {self._log_id.hex()}")
        first, last = rows[0][:2]
        entries = [(row[2], row[3]) for row in rows if row[2] is not None]
        begin = max(position, first)
        unbroken = [each[0] for each in entries] == list(range(begin, begin + len(entries)))
        if not unbroken or (begin <= last) != bool(entries):
            raise LostError(f"the log {self._log_id.hex()} has a gap at {begin}")
        return Found(first, last, entries)

    async def _settle(self, position: int) -> None:
        """Return when the standbys have everything up to a position that was seen."""
        if position > self.durable:
            await self._session.run(tables.BARRIER)
