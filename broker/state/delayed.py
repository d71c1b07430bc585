"""Delayed publishes, until they are due."""

from __future__ import annotations

from broker.records import PublishDelayed
from broker.state.name_index import LazySortedSet
from broker.state.slots import Slots
from broker.state.timers import Timers
from broker.state.usage import Usage
from broker.thresholds import DEFAULT, Thresholds

DELAYED_COST = 500
"""Bytes of memory of a delayed publish beside its content."""


class Delayed:
    """All delayed publishes of a broker, by number. Persists."""

    def __init__(self, thresholds: Thresholds = DEFAULT, slots: Slots | None = None) -> None:
        """Create it; `slots` is told of the names that have any."""
        self._thresholds = thresholds
        self._slots = slots or Slots()
        self.publishes: dict[int, PublishDelayed] = {}
        self.due: Timers[int] = Timers(thresholds)
        """Milliseconds of the broker's time, by number."""
        self.last_number = 0
        self.usage: Usage[bytes] = Usage()
        """Estimated bytes of memory, by topic."""
        self.topics: dict[bytes, LazySortedSet[int]] = {}
        """The numbers of each topic that has any."""
        self.names: LazySortedSet[bytes] = LazySortedSet(thresholds)
        """The names of these topics."""

    def __len__(self) -> int:
        return len(self.publishes)

    @property
    def weight(self) -> int:
        """Return the estimated bytes of memory."""
        return self.usage.total

    def count(self, topic: bytes) -> int:
        """Return the number of delayed publishes of a topic."""
        return len(self.topics.get(topic, ()))

    def add(self, publish: PublishDelayed) -> None:
        """Add a publish. Raise `ValueError` for a number that is in use."""
        if publish.number in self.publishes:
            raise ValueError(f"delayed publish {publish.number} waits already")
        self.publishes[publish.number] = publish
        self.last_number = max(self.last_number, publish.number)
        self.due.set(publish.number, publish.due_ms)
        self.usage.add(publish.topic, weight_of(publish))
        numbers = self.topics.get(publish.topic)
        if numbers is None:
            numbers = self.topics[publish.topic] = LazySortedSet(self._thresholds)
            self.names.add(publish.topic)
            self._slots.add_name(publish.topic)
        numbers.add(publish.number)

    def end(self, number: int) -> None:
        """Remove a publish."""
        publish = self.publishes.pop(number)
        self.due.drop(number)
        self.usage.add(publish.topic, -weight_of(publish))
        numbers = self.topics[publish.topic]
        numbers.remove(number)
        if not numbers:
            del self.topics[publish.topic]
            self.names.remove(publish.topic)
            self._slots.remove_name(publish.topic)


def weight_of(publish: PublishDelayed) -> int:
    """Return the estimated bytes of memory of a publish."""
    return DELAYED_COST + len(publish.topic) + publish.payload.size
