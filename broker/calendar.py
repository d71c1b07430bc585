"""The dates of the broker's time (`Now.time`), which is never set while the system's clock is.

Everything is kept and decided in the broker's time; what clients are told is turned into dates on its way out. A
message keeps its date, and dates never go back: after the clock was set back they stand still until it has come up.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, TypeVar

from common.clock import Now, StepWatch
from common.protocol import ops

MOST_STEPS = 100
"""Steps that are remembered; the dates of older messages then shift."""
Result = TypeVar("Result")


class Step(NamedTuple):
    """The system's clock was set, and it held. Persists."""

    since: int
    """In the broker's time, milliseconds."""
    shift: int
    """Milliseconds by which dates are ahead of the broker's time from then on."""
    floor: int
    """The least date from then on, milliseconds since 1970 UTC."""


class Calendar:
    """A broker's. Changed by `State.apply` only."""

    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = ()
        self.shift = 0
        """The present one."""

    def set(self, steps: tuple[Step, ...]) -> None:
        """All that is remembered."""
        self.steps = steps
        self.shift = steps[-1].shift if steps else 0

    def after(self, now: Now, watch: StepWatch) -> tuple[Step, ...] | None:
        """All steps where there is a new one, by a reading of the clock; else None."""
        shift = watch.look(now, self.shift)
        if shift == self.shift:
            return None
        return (*self.steps, Step(now.time, shift, self.date(now.time)))[-MOST_STEPS:]

    def date(self, time: int) -> int:
        """What the date was, milliseconds since 1970 UTC."""
        steps = self.steps
        if not steps:
            return time
        index = bisect_right(steps, time, key=lambda step: step.since) - 1
        if index < 0:
            return time + steps[0].floor - steps[0].since
        return max(time + steps[index].shift, steps[index].floor)

    def dated(self, result: Result) -> Result:
        """A result of an operation, with dates for times."""
        if self.steps:
            match result:
                case ops.Message() | ops.Run() | ops.DeadLetter() | ops.Peeked():
                    result.time = self.date(result.time)
                case ops.Published(due=due) if due:
                    result.due = due + self.shift
                case ops.Batch(runs=several) | ops.DeadLetters(letters=several) | ops.PeekedAll(messages=several):
                    for each in several:
                        self.dated(each)
        return result
