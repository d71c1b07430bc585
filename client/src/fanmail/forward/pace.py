"""How soon a target is asked again: less and less often while it fails, at once when it has answered."""

from __future__ import annotations

from fanmail.forward.timing import Timing, jittered

MAX_PAUSE_S = 60.0
"""A target that failed for long is tried once in this time, so that it comes back by itself."""


class Pace:
    """The pauses of one target.

    Failures are counted in rounds: those of requests that were under way together are one, otherwise a target with
    many requests at once would wait long for one short fault.
    """

    def __init__(self, first_s: float, free: int, timing: Timing) -> None:
        """Pause `first_s` after the first round of failures that is not among the `free` ones, then twice as long."""
        self._first_s = first_s
        self._free = free
        self._timing = timing
        self._failed_at = float("-inf")
        self._paused_until = 0.0
        self._busy_until = 0.0
        self.failures: int = 0
        """Rounds since the last success."""

    def failed(self, began: float, retry_after_s: float = 0.0) -> None:
        """Note that an attempt failed which began at this time of the clock."""
        now = self._timing.clock()
        self._busy_until = max(self._busy_until, now + retry_after_s if retry_after_s else 0.0)
        if began < self._failed_at:
            return
        self._failed_at = now
        self.failures += 1
        doubled = self.failures - self._free - 1
        if doubled >= 0:
            pause_s = min(self._first_s * 2.0 ** min(doubled, 60), MAX_PAUSE_S)
            self._paused_until = now + jittered(pause_s, self._timing.random())

    def succeeded(self) -> None:
        """Note that an attempt succeeded. Only what the target itself asked for is still waited for."""
        self.failures = 0
        self._paused_until = 0.0

    @property
    def left_s(self) -> float:
        """The seconds until the target may be asked, 0 if it may be now."""
        return max(max(self._paused_until, self._busy_until) - self._timing.clock(), 0.0)

    @property
    def is_trying(self) -> bool:
        """Whether the target has failed and one message is enough to see whether it works again."""
        return self.failures > self._free
