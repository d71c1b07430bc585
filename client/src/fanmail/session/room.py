"""The limit of what a session has in flight: whoever publishes faster than the server answers waits here."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

DEFAULT_IN_FLIGHT = 256
"""Twice what a front takes in before it answers: as much waits in the connection."""
MAX_BYTES = 4 * 1024 * 1024
"""The bytes of bodies in flight, as the server's own limit, unless a single one is larger."""


class _Room:
    """What is in flight, by number and by size."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"in_flight is {limit}, and must be at least 1")
        self._limit = limit
        self._count = self._bytes = 0

    def _is_full(self, size: int) -> bool:
        return self._count >= self._limit or (self._count > 0 and self._bytes + size > MAX_BYTES)

    def _add(self, count: int, size: int) -> None:
        self._count += count
        self._bytes += size


class Room(_Room):
    """For threads."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Wait until there is room."""
        with self._changed:
            while self._is_full(size):
                self._changed.wait()
            self._add(1, size)

    def leave(self, size: int) -> None:
        """Make room."""
        with self._changed:
            self._add(-1, -size)
            self._changed.notify_all() if self._count == 0 else self._changed.notify()

    def wait_empty(self) -> None:
        """Wait until nothing is in flight."""
        with self._changed:
            while self._count:
                self._changed.wait()


class AsyncRoom(_Room):
    """For the tasks of an event loop."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def enter(self, size: int) -> None:
        """Wait until there is room."""
        while self._is_full(size):
            await self._wait()
        self._add(1, size)

    def leave(self, size: int) -> None:
        """Make room."""
        self._add(-1, -size)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if self._count:
                    break

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight."""
        while self._count:
            await self._wait()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
