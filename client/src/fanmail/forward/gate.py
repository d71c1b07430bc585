"""Where requests wait for their turn, so that many of them do not make each other late."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """Lets one request begin per turn of the event loop: those to targets first, each kind in order.

    A request takes several turns. So of a thousand that could begin at once, as after a start, only some are under way
    and are soon done; begun together, all of them would take until the time limit of each is over, and then all again.
    Messages that are leased go first, because their leases cost requests, too. What waits for an answer of a target, or
    for a message, holds nothing up.
    """

    def __init__(self) -> None:
        self._waiting: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]] = (deque(), deque())
        self._is_admitting = False

    async def send(self) -> None:
        """Wait for the turn of a request to a target."""
        await self._turn(0)

    async def read(self) -> None:
        """Wait for the turn of a request for messages."""
        await self._turn(1)

    async def _turn(self, kind: int) -> None:
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        self._waiting[kind].append(mine)
        if not self._is_admitting:
            self._is_admitting = True
            loop.call_soon(self._admit)
        await mine

    def _admit(self) -> None:
        for waiting in self._waiting:
            while waiting:
                first = waiting.popleft()
                if not first.done():  # not cancelled
                    first.set_result(None)
                    asyncio.get_running_loop().call_soon(self._admit)
                    return
        self._is_admitting = False
