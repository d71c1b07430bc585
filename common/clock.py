"""Clocks, and a manual one for tests. No other module reads a clock for a decision.

The system's clock may be set, and may be wrong for a while. Therefore durations (ttl, delay, max_age, leases) are
measured by elapsed time, which cannot be set. The system's clock only gives the date, and a change of it counts once it
has lasted (`docs/time.md`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

stopwatch = time.monotonic_ns
"""Nanoseconds, to measure durations that are only logged or counted."""

HOLD_MS = 5000
"""How long the system's clock must keep a new date before it is believed."""
TOLERANCE_MS = 100
"""Difference below which two readings do not mean that a clock was set: they are not taken at the same instant."""
BEHIND_MS = 1000
"""How much older a stored `Mark` may be than the last stored change."""


class Now(NamedTuple):
    """One reading of all clocks, passed down so that a whole burst sees the same instant."""

    mono: int
    """Microseconds of a clock that never goes back. It stops while the broker is down or the machine is suspended."""
    time: int
    """Milliseconds of elapsed time, which includes time in which the broker is down or the machine is suspended. Never
    goes back and is never set. When the store was created it was the date, in milliseconds since 1970 UTC.
    """
    wall: int
    """Milliseconds since 1970 UTC by the system's clock, which may be wrong and may go back."""


class Mark(NamedTuple):
    """A stored reading of a broker's clocks, for its next process."""

    mono: int
    time: int
    """0: unknown, use the date."""
    boot: str
    """Id of the boot of the machine, "" if unknown."""
    boottime: int
    """Milliseconds since that boot, including suspensions."""
    shift: int = 0
    """Milliseconds by which the date was ahead of `time`, as known to the calendar."""


NEW = Mark(1, 0, "", 0)
"""The mark of a new broker. `mono` is not 0, which means an unset deadline."""


class Clock(Protocol):
    """A source of `Now`."""

    def now(self) -> Now: ...

    def mark(self) -> Mark: ...


class Machine(NamedTuple):
    """The clocks of a machine, in nanoseconds."""

    monotonic: Callable[[], int]
    boottime: Callable[[], int]
    """Includes suspensions, unlike `monotonic`; cannot be set."""
    wall: Callable[[], int]
    boot: str


def this_machine() -> Machine:
    """Return the clocks of this machine (https://man7.org/linux/man-pages/man2/clock_gettime.2.html)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    return Machine(time.monotonic_ns, partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME), time.time_ns, boot)


class SystemClock:
    """The machine's clocks, continued from the previous process of a broker."""

    def __init__(self, start: Mark | None = None, machine: Machine | None = None) -> None:
        """`start` is the mark of the previous process; None: there was none, and `mono` is that of the machine."""
        self._monotonic, self._boottime, self._wall, self._boot = machine or this_machine()
        self.restart(start)

    def restart(self, start: Mark | None, behind_ms: int = BEHIND_MS) -> None:
        """Continue from another mark, which may be `behind_ms` older than the last reading that anybody was told of."""
        boot = self._boot
        self._offset = 0 if start is None else start.mono - self._monotonic() // 1000
        boottime, wall = self._boottime() // 1_000_000, self._wall() // 1_000_000
        if start is None or not start.time:
            now = wall
        elif boot and boot == start.boot and boottime >= start.boottime:
            now = start.time + boottime - start.boottime
        else:  # on another machine, or after a boot: only the date tells how much time has passed
            now = start.time + max(behind_ms, wall - start.shift - start.time)
        self._ahead = now - boottime
        """Milliseconds by which `Now.time` is ahead of the time since boot."""

    def now(self) -> Now:
        boottime = self._boottime() // 1_000_000
        return Now(self._monotonic() // 1000 + self._offset, boottime + self._ahead, self._wall() // 1_000_000)

    def mark(self) -> Mark:
        """Return the present reading, to be stored."""
        mono, time, _ = self.now()
        return Mark(mono, time, self._boot, time - self._ahead)


class StepWatch:
    """Decides how far the date is ahead of `Now.time`.

    A change of that difference means that the clock was set. A step that does not last is ignored. One that undoes the
    previous step is believed at once.
    """

    def __init__(self, hold_ms: int = HOLD_MS, tolerance_ms: int = TOLERANCE_MS) -> None:
        self._hold_ms = hold_ms
        self._tolerance_ms = tolerance_ms
        self._before: int | None = None
        """The shift before the current one."""
        self._seen: int | None = None
        """A shift that is not believed yet; `_since` is when it was first seen."""
        self._since = 0

    def look(self, now: Now, shift: int) -> int:
        """Return the shift that counts from now on, in milliseconds, given the one that has counted so far.

        Call it at least about once per second.
        """
        seen = now.wall - now.time
        if self._same(seen, shift):
            self._seen = None
            return shift
        if not self._same(seen, self._seen):
            self._seen, self._since = seen, now.time
        if now.time - self._since < self._hold_ms and not self._same(seen, self._before):
            return shift
        self._before, self._seen = shift, None
        return seen

    def _same(self, one: int, other: int | None) -> bool:
        return other is not None and abs(one - other) <= self._tolerance_ms


class Dates:
    """The date by the system's clock, whose steps pass a `StepWatch`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watch = StepWatch()
        first = clock.now()
        self._shift = first.wall - first.time

    def now(self) -> int:
        """Return milliseconds since 1970 UTC. Call it at least about once per second."""
        now = self._clock.now()
        self._shift = self._watch.look(now, self._shift)
        return now.time + self._shift


class ManualClock:
    """Clocks that move only when told to."""

    def __init__(self, mono: int = 1_000_000, wall: int = 1_700_000_000_000) -> None:
        self._now = Now(mono, wall, wall)

    def now(self) -> Now:
        return self._now

    def mark(self) -> Mark:
        return Mark(self._now.mono, self._now.time, "", 0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        milliseconds = int(seconds * 1e3)
        mono, time, wall = self._now
        self._now = Now(mono + int(seconds * 1e6), time + milliseconds, wall + milliseconds)

    def set_wall(self, seconds: float) -> None:
        """Set the system's clock forward, or back."""
        self._now = self._now._replace(wall=self._now.wall + int(seconds * 1e3))


def boottime_s() -> float:
    """Return the seconds since the boot of the machine, including suspensions."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pause(seconds: float) -> None:
    """Sleep. Not for event loops."""
    time.sleep(seconds)
