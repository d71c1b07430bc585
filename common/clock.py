"""Time, and its double for tests. Nothing else in the project reads a clock for a decision."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

stopwatch = time.monotonic_ns
"""Nanoseconds, to tell how long something took; nothing is decided by it but what is logged or counted."""


class Now(NamedTuple):
    """One reading of both clocks, passed down so that everything in a burst sees the same moment."""

    mono: int
    """Microseconds of a clock that never goes back; comparable within one host's boot only."""
    wall: int
    """Milliseconds since 1970 UTC, never less than the reading before."""


class Clock(Protocol):
    """Where `Now` comes from."""

    def now(self) -> Now: ...


class SystemClock:
    """The machine's clocks. `wall` is held still while the system's clock is set back."""

    def __init__(self, start: int | None = None) -> None:
        """`start`: where the monotonic clock goes on, in microseconds; None: it is the machine's."""
        self._wall = 0
        self._offset = 0 if start is None else start - time.monotonic_ns() // 1000

    def now(self) -> Now:
        self._wall = max(self._wall, time.time_ns() // 1_000_000)
        return Now(time.monotonic_ns() // 1000 + self._offset, self._wall)


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, mono: int = 1_000_000, wall: int = 1_700_000_000_000) -> None:
        self._now = Now(mono, wall)

    def now(self) -> Now:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now = Now(self._now.mono + int(seconds * 1e6), self._now.wall + int(seconds * 1e3))


def pause(seconds: float) -> None:
    """Waits; not for loops that serve."""
    time.sleep(seconds)
