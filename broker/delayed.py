"""Publishes that wait aside until they are due."""

from __future__ import annotations

from broker.records import PublishDelayed
from broker.thresholds import DEFAULT, Thresholds
from broker.timers import Timers

DELAYED_COST = 500
"""Bytes of memory of a delayed publish beside its content."""


class Delayed:
    """Of a whole broker, by number. Persists."""

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.publishes: dict[int, PublishDelayed] = {}
        self.due: Timers[int] = Timers(thresholds)
        """Milliseconds of the broker's time, by number."""
        self.last_number = 0
        self.weight = 0
        """Estimated bytes of memory."""

    def __len__(self) -> int:
        return len(self.publishes)

    def add(self, publish: PublishDelayed) -> None:
        """Waits from now on. Raises `ValueError` for a number that waits already."""
        if publish.number in self.publishes:
            raise ValueError(f"delayed publish {publish.number} waits already")
        self.publishes[publish.number] = publish
        self.last_number = max(self.last_number, publish.number)
        self.due.set(publish.number, publish.due)
        self.weight += weight_of(publish)

    def end(self, number: int) -> None:
        """Waits no more."""
        publish = self.publishes.pop(number)
        self.due.drop(number)
        self.weight -= weight_of(publish)


def weight_of(publish: PublishDelayed) -> int:
    """Estimated bytes of memory."""
    content = len(publish.headers) + len(publish.body) + len(publish.offsets)
    return DELAYED_COST + len(publish.topic) + content
