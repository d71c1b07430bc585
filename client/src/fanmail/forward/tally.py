"""The counts of targets, which metrics show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
"""Upper limits of the classes of durations."""


class Durations:
    """A histogram of the durations of all requests."""

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS_S) + 1)
        """By class; the last one has no limit."""
        self.total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one request."""
        at = next((number for number, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self.counts[at] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Tally:
    """Counts and gauges. One thread writes them; another one may read."""

    name: str
    durations: Durations = field(default_factory=Durations)
    """Of the requests of all targets that share it."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Requests by outcome."""
    messages: Counter[str] = field(default_factory=Counter)
    """Messages by result: done, returned (given back), lost (their lease had passed to another consumer)."""
    errors: Counter[str] = field(default_factory=Counter)
    """Calls to Fanmail that failed, by code."""
    in_flight: int = 0
    """Requests under way."""
    failures: int = 0
    """Rounds of failures since the last success."""
    last_success: float = 0.0
    """Seconds since 1970."""
    gone: bool = False
    """Whether it answered 410 and is not asked any more."""
