"""Deliver the entries of a stream: all from a position on, or one.

Follows by direct gets, which need no state in the servers, no leader, and no more memory than what is asked for. While
they find nothing, the leader is asked: the copy that answers them may have stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.replica.engine.outbox import Outbox
from broker.replica.engine.threaded_log import AHEAD_BYTES, LostError
from broker.replica.jetstream import api
from broker.replica.jetstream.fetching import BATCH_ENTRIES, Fetcher, Found, Unanswered
from broker.replica.jetstream.health import Health
from broker.replica.log import Entries, Missing

SHORTEST_S, LONGEST_S = 0.03, 0.2
"""Interval of polls behind new entries; doubles while there are none."""
SILENT_S = 1.5
"""After which the leader is asked, and not more often than that."""
AGAIN_S = 0.1
"""Interval of attempts where nothing answers."""


class Feed:
    """Reads one log for one reader. Used in the thread of the event loop."""

    def __init__(self, fetcher: Fetcher, health: Health, outbox: Outbox, clock: Callable[[], float]) -> None:
        self._fetcher, self._health, self._outbox, self._clock = fetcher, health, outbox, clock
        self._room = asyncio.Event()
        self._followed = 0
        """Counts what was followed, so that a former one ends: a cancellation may get lost (Python before 3.12)."""

    def taken(self) -> None:
        """Go on: the reader has taken what there was."""
        self._room.set()

    def unfollow(self) -> None:
        """Deliver nothing more of what is followed."""
        self._followed += 1

    async def follow(self, first: int) -> None:
        """Deliver all entries from `first` on, until cancelled or `Missing` was delivered. Raises `LostError`."""
        wait_s, asked, behind = SHORTEST_S, self._clock(), False
        mine = self._followed
        while mine == self._followed:
            await self._wait_for_room()
            is_silent = self._clock() - asked >= SILENT_S
            try:
                found = await self._direct(first, give_up=behind or is_silent)
                if found:
                    behind = False
                elif found is None or behind or is_silent:
                    found = await self._from_leader(first)
                    behind = bool(found)
                    asked = self._clock()
            except Unanswered as error:
                self._judge(error)
                await asyncio.sleep(AGAIN_S)
                continue
            if found is None or mine != self._followed:
                return
            if found:
                first, asked, wait_s = self._deliver(found), self._clock(), SHORTEST_S
            if len(found) < BATCH_ENTRIES:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_S)

    async def read(self, position: int) -> None:
        """Deliver the entry at a position, or `Missing`. Raises `LostError`."""
        while True:
            try:
                found = await self._direct(position, give_up=True) or await self._from_leader(position)
                if found is None:
                    return
                if found:
                    self._deliver(found)
                    return
                described = await self._describe()
                if position > described.state.last_seq:
                    self._miss(position, described)
                    return
            except Unanswered as error:
                self._judge(error)
            await asyncio.sleep(AGAIN_S)

    async def inspect(self) -> api.Described:
        """Return what the leader says of the stream. Raises `LostError`, and what is in `Unanswered`."""
        try:
            return await self._describe()
        except Unanswered as error:
            self._judge(error)
            raise

    async def _direct(self, first: int, give_up: bool) -> Found | None:
        """Return entries from `first` on, [] where there are none, None where others are: the leader has to be asked.

        `give_up`: None where there is no answer, too.
        """
        try:
            found = await self._fetcher.direct(first)
        except Unanswered:
            if give_up:
                return None
            raise
        return found if not found or found[0][0] == first else None

    async def _from_leader(self, first: int) -> Found | None:
        """Return the entry at `first`, [] where it is not there yet, None where it never will be, which was said."""
        data = await self._fetcher.from_leader(first)
        if data is None:
            described = await self._describe()
            if first > described.state.last_seq:
                return []
            if first >= described.state.first_seq:
                data = await self._fetcher.from_leader(first)  # it may have come since
            if data is None:
                self._miss(first, described)
                return None
        return [(first, data)]

    async def _describe(self) -> api.Described:
        described = await self._fetcher.describe()
        reason = self._health.on_described(described)
        if reason:
            raise LostError(reason)
        return described

    def _deliver(self, found: Found) -> int:
        """Deliver entries. Return the position of the next one."""
        last = found[-1][0]
        self._health.on_answer()
        self._outbox.put(Entries(found))
        return last + 1

    def _miss(self, position: int, described: api.Described) -> None:
        self._outbox.put(Missing(position, described.state.first_seq, described.state.last_seq))

    def _judge(self, error: Exception) -> None:
        reason = self._health.on_error(error)
        if reason:
            raise LostError(reason)

    async def _wait_for_room(self) -> None:
        while self._outbox.held_bytes >= AHEAD_BYTES:
            self._room.clear()
            if self._outbox.held_bytes >= AHEAD_BYTES:
                await self._room.wait()
