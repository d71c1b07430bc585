"""Time, and its double for tests. Nothing else in the project reads a clock for a decision.

The system's clock is set now and then, and may be wrong for a while. So what lasts (ttl, delay, max_age, leases) goes
by time that passes, which nobody can set; the system's clock only says which date it is, and when it was set, that
counts once it has held (`docs/time.md`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

stopwatch = time.monotonic_ns
"""Nanoseconds, to tell how long something took; nothing is decided by it but what is logged or counted."""

HOLD_MS = 5000
"""Milliseconds that the system's clock must stand by a new date before it is believed."""
TOLERANCE_MS = 100
"""Milliseconds by which two readings of a clock may differ that was not set: they are not taken at the same moment."""
BEHIND_MS = 1000
"""Milliseconds that a stored `Mark` may be older than what was stored last."""


class Now(NamedTuple):
    """One reading of all clocks, passed down so that everything in a burst sees the same moment."""

    mono: int
    """Microseconds of a clock that never goes back. Stands still while the broker is down or the machine suspended."""
    time: int
    """Milliseconds of time that passes, also while the broker is down or the machine suspended. Never goes back and is
    never set; it was the date, since 1970 UTC, when the store was made.
    """
    wall: int
    """Milliseconds since 1970 UTC as the system's clock says: it may be wrong, and go either way."""


class Mark(NamedTuple):
    """Where a broker's clocks stood, for its next process."""

    mono: int
    time: int
    """0: not known; it is the date."""
    boot: str
    """Which boot of which machine it was, "" where that is not known."""
    boottime: int
    """Milliseconds since that boot, suspensions included."""
    shift: int = 0
    """Milliseconds that dates were ahead of `time`, as far as was believed; the calendar has it."""


NEW = Mark(1, 0, "", 0)
"""Of a broker that begins; a monotonic reading of 0 would look like a deadline that is not set."""


class Clock(Protocol):
    """Where `Now` comes from."""

    def now(self) -> Now: ...

    def mark(self) -> Mark: ...


class Machine(NamedTuple):
    """What a machine has of clocks, in nanoseconds."""

    monotonic: Callable[[], int]
    boottime: Callable[[], int]
    """Goes on while the machine is suspended, unlike `monotonic`; nobody can set it."""
    wall: Callable[[], int]
    boot: str


def this_machine() -> Machine:
    """The machine's clocks, of which the kernel's manual says: https://man7.org/linux/man-pages/man2/clock_gettime.2.html"""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    return Machine(time.monotonic_ns, partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME), time.time_ns, boot)


class SystemClock:
    """The machine's clocks, and where a broker's go on."""

    def __init__(self, start: Mark | None = None, machine: Machine | None = None) -> None:
        """`start`: where the process before stood; None: there was none, and `mono` is the machine's."""
        self._monotonic, self._boottime, self._wall, boot = machine or this_machine()
        self._boot = boot
        self._offset = 0 if start is None else start.mono - self._monotonic() // 1000
        boottime, wall = self._boottime() // 1_000_000, self._wall() // 1_000_000
        if start is None or not start.time:
            now = wall
        elif boot and boot == start.boot and boottime >= start.boottime:
            now = start.time + boottime - start.boottime
        else:  # on another machine, or after a boot: nothing but the date says how long that took
            now = start.time + max(BEHIND_MS, wall - start.shift - start.time)
        self._ahead = now - boottime
        """Milliseconds that `Now.time` is ahead of the time since the boot."""

    def now(self) -> Now:
        boottime = self._boottime() // 1_000_000
        return Now(self._monotonic() // 1000 + self._offset, boottime + self._ahead, self._wall() // 1_000_000)

    def mark(self) -> Mark:
        """Where the clocks stand now."""
        mono, time, _ = self.now()
        return Mark(mono, time, self._boot, time - self._ahead)


class StepWatch:
    """Judges how far the date is ahead of `Now.time`. The clock was set where that changes: a step that does not hold
    was a mistake. One that undoes the step before is believed at once.
    """

    def __init__(self, hold_ms: int = HOLD_MS, tolerance_ms: int = TOLERANCE_MS) -> None:
        self._hold_ms = hold_ms
        self._tolerance_ms = tolerance_ms
        self._before: int | None = None
        """The shift before the present one."""
        self._seen: int | None = None
        """A shift that is not believed yet, and since when it is seen."""
        self._since = 0

    def look(self, now: Now, shift: int) -> int:
        """The shift that counts from now on, in milliseconds; `shift` is the one that did until now. To be called at
        least every second or so.
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
    """The date, with every step of the system's clock judged by a `StepWatch`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watch = StepWatch()
        first = clock.now()
        self._shift = first.wall - first.time

    def now(self) -> int:
        """Milliseconds since 1970 UTC. To be asked at least every second or so."""
        now = self._clock.now()
        self._shift = self._watch.look(now, self._shift)
        return now.time + self._shift


class ManualClock:
    """Clocks that move only when they are told to."""

    def __init__(self, mono: int = 1_000_000, wall: int = 1_700_000_000_000) -> None:
        self._now = Now(mono, wall, wall)

    def now(self) -> Now:
        return self._now

    def mark(self) -> Mark:
        return Mark(self._now.mono, self._now.time, "", 0)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        milliseconds = int(seconds * 1e3)
        mono, time, wall = self._now
        self._now = Now(mono + int(seconds * 1e6), time + milliseconds, wall + milliseconds)

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the system's clock, by so much."""
        self._now = self._now._replace(wall=self._now.wall + int(seconds * 1e3))


def pause(seconds: float) -> None:
    """Waits; not for loops that serve."""
    time.sleep(seconds)
