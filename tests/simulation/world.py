"""Virtual time: what happens when, in an order that the seed draws, and tasks that sleep and wait in it."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from greenlet import getcurrent, greenlet

SAME_MOMENT = 1e-9
"""Seconds between two things that were done one after another at the same virtual time."""


class Killed(BaseException):
    """The process in which this is raised is gone. Not an `Exception`: nothing of the product may catch it."""


class World:
    """One run. Times in seconds since its begin."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"{seed}/world")
        self.now = 0.0
        self.main = getcurrent()
        self.trace: list[tuple[object, ...]] = []
        """What happened, each with its time."""
        self.found: list[str] = []
        """What must not happen, and did."""
        self._queue: list[tuple[float, float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self._moment = 0.0

    def after(self, seconds: float, work: Callable[[], object]) -> None:
        """Do the work `seconds` later; what is due at the same time comes in an order that the seed draws."""
        heapq.heappush(self._queue, (self.now + seconds, self.rng.random(), next(self._count), work))

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Lets time pass until `until()`; False where that does not come before `limit`, or nothing more happens."""
        while not until():
            if not self._queue or self._queue[0][0] > limit:
                return False
            self.now, _, _, work = heapq.heappop(self._queue)
            work()
        return True

    def moment(self) -> float:
        """Now, and later than every moment that was asked for before: an order of what is done at the same time."""
        self._moment = max(self.now, self._moment + SAME_MOMENT)
        return self._moment

    def note(self, *what: object) -> None:
        """Writes a line of the trace."""
        self.trace.append((self.now, *what))

    def fail(self, what: str) -> None:
        """A promise was broken."""
        self.note("BROKEN", what)
        self.found.append(f"{what} (at {self.now:.6f})")


class Task:
    """Something that runs on its own: the loop of a process, or a client."""

    def __init__(self, world: World, work: Callable[[], object], before: Callable[[], object] | None = None) -> None:
        """Begins at once, in this turn of the world; `before` is called each time that it continues."""
        self._world = world
        self._work = work
        self._before = before
        self._greenlet = greenlet(self._run, world.main)
        self._turn = 0
        """Counts how often it went on: a wake-up of before is of no interest."""
        self._wakes_at: float | None = None
        """When it continues at the latest; None while it runs, or sleeps."""
        self.frozen_until = 0.0
        self.ended = False
        world.after(0, lambda: self._go_on(0))

    def sleep(self, seconds: float) -> None:
        """Nothing ends this early but the end of the task."""
        self._give_way(seconds)

    def wait(self, seconds: float) -> None:
        """Until `wake`, or for this time."""
        self._wakes_at = self._world.now + seconds
        self._give_way(seconds)

    def wake(self, seconds: float = 0.0) -> None:
        """A waiting task continues after this time; every wake until then is the same."""
        at = self._world.now + seconds
        if self._wakes_at is not None and at < self._wakes_at:
            self._wakes_at = at
            turn = self._turn
            self._world.after(seconds, lambda: self._go_on(turn))

    def kill(self) -> None:
        """It ends where it is. Must not be called by the task itself."""
        if not self._greenlet:  # it has not begun
            self.ended = True
        elif not self.ended:
            self._turn += 1
            self._enter(Killed())

    def _give_way(self, seconds: float) -> None:
        turn = self._turn
        self._world.after(seconds, lambda: self._go_on(turn))
        self._world.main.switch()

    def _go_on(self, turn: int) -> None:
        if turn != self._turn or self.ended:
            return
        if self._world.now < self.frozen_until:
            self._world.after(self.frozen_until - self._world.now, lambda: self._go_on(turn))
            return
        self._turn += 1
        self._enter(None)

    def _enter(self, failure: Killed | None) -> None:
        self._wakes_at = None
        if self._before is not None:
            self._before()
        if failure is None:
            self._greenlet.switch()
        else:
            self._greenlet.throw(failure)

    def _run(self) -> None:
        try:
            self._work()
        except Killed:
            pass
        finally:
            self.ended = True
