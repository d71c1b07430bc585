"""The dates of the broker's time (`Now.time`), which is never set although the system's clock is.

Everything is stored and decided in the broker's time and converted to dates when a client is answered. A message keeps
its date, and dates never go back: after the system's clock was set back they stand still until it has caught up.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, TypeVar

from common.clock import Now, StepWatch
from common.protocol import ops

MOST_STEPS = 100
"""Steps that are remembered. With more, the dates of older messages shift."""
Result = TypeVar("Result")


class Step(NamedTuple):
    """A step of the system's clock that was not undone. Persists."""

    since: int
    """Milliseconds in the broker's time."""
    shift: int
    """Milliseconds that dates are ahead of the broker's time from then on."""
    floor: int
    """Lower bound of dates from then on, milliseconds since 1970 UTC."""


class Calendar:
    """Converts the broker's time to dates. Changed by `State.apply` only."""

    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = ()
        self.shift = 0
        """The shift of the last step, 0 without one."""

    def set(self, steps: tuple[Step, ...]) -> None:
        """Replace all steps."""
        self.steps = steps
        self.shift = steps[-1].shift if steps else 0

    def after(self, now: Now, watch: StepWatch) -> tuple[Step, ...] | None:
        """Return all steps where a reading of the clock shows a new one, else None."""
        shift = watch.look(now, self.shift)
        if shift == self.shift:
            return None
        return (*self.steps, Step(now.time, shift, self.date(now.time)))[-MOST_STEPS:]

    def date(self, time: int) -> int:
        """Return the date of a moment in the broker's time, milliseconds since 1970 UTC."""
        steps = self.steps
        if not steps:
            return time
        index = bisect_right(steps, time, key=lambda step: step.since) - 1
        if index < 0:
            return time + steps[0].floor - steps[0].since
        return max(time + steps[index].shift, steps[index].floor)

    def dated(self, result: Result) -> Result:
        """Convert the times in the result of an operation to dates, in place, and return it."""
        if self.steps:
            match result:
                case ops.Message() | ops.Run() | ops.DeadLetter() | ops.Peeked():
                    result.time = self.date(result.time)
                case ops.Published(due_ms=due_ms) if due_ms:
                    result.due_ms = due_ms + self.shift
                case ops.Batch(runs=several) | ops.DeadLetters(letters=several) | ops.PeekedAll(messages=several):
                    for each in several:
                        self.dated(each)
        return result
