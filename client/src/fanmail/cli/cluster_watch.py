"""The data of `fanmail top`: successive snapshots of a cluster, from the operations port."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TypeVar

from fanmail.admin import Admin
from fanmail.admin_calls import MAX_PAGE
from fanmail.cli.admin import broker_fields
from fanmail.cluster import Broker, Subscription, Topic, TopicDetails
from fanmail.errors import NotFound, OutcomeUnknown, Unavailable

T = TypeVar("T", bound=Topic)
R = TypeVar("R")

USERS_PER_TOPIC = 3
"""Limits the users shown per topic, so that those of other topics are shown too."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages per second since the previous snapshot. None: there is none, or the broker was restarted."""

    published: float | None = None
    delivered: float | None = None


@dataclass(frozen=True, slots=True)
class SlowSubscription:
    """A subscription that has not acknowledged the oldest message of a topic."""

    topic: str
    subscription: Subscription


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """The state of a cluster at one time, as far as it is known."""

    at: datetime
    brokers: tuple[Broker, ...] = ()
    rates: dict[str, Rates] = field(default_factory=dict)
    """By broker id."""
    deepest: list[TopicDetails] = field(default_factory=list)
    """The topics with the most messages, of those examined so far."""
    oldest: list[TopicDetails] = field(default_factory=list)
    """The topics with the oldest messages, of those examined so far."""
    slowest: list[SlowSubscription] = field(default_factory=list)
    """The subscriptions that hold the oldest messages, oldest first."""
    examined: int = 0
    """The number of topics examined so far; all of them after the first pass."""

    @property
    def topics(self) -> int:
        """The number of topics of the brokers that answer."""
        return self.total("topics")

    def total(self, name: str) -> int:
        """Return the sum of a gauge over all brokers."""
        return sum(each.stats.get(name, 0) for each in self.brokers)

    def total_rate(self, name: str) -> float | None:
        """Return the sum of a rate over all brokers, or None if none is known."""
        known = [each for rates in self.rates.values() if (each := getattr(rates, name)) is not None]
        return sum(known) if known else None

    @property
    def oldest_age(self) -> float:
        """The age of the oldest message of all brokers in seconds."""
        return max((each.stats.get("oldest_age_ms", 0) for each in self.brokers), default=0) / 1000

    def as_object(self) -> dict[str, object]:
        """Return the snapshot as an object for JSON."""
        return {
            "time": self.at.isoformat(timespec="milliseconds"),
            "published_per_second": _rounded(self.total_rate("published")),
            "delivered_per_second": _rounded(self.total_rate("delivered")),
            "messages": self.total("messages"),
            "oldest_age": self.oldest_age,
            "topics": self.topics,
            "looked_at": self.examined,
            "brokers": [self._broker(each) for each in self.brokers],
            "deepest": [asdict(each) for each in self.deepest],
            "oldest": [asdict(each) for each in self.oldest],
            "slowest": [{"topic": each.topic} | asdict(each.subscription) for each in self.slowest],
        }

    def _broker(self, broker: Broker) -> dict[str, object]:
        rates = self.rates.get(broker.id, Rates())
        return broker_fields(broker) | {
            "published_per_second": _rounded(rates.published),
            "delivered_per_second": _rounded(rates.delivered),
        }


class ClusterWatcher:
    """Takes successive snapshots of a cluster.

    Each snapshot reads all brokers, the next thousand topics of each, and again the deepest and oldest topics found so
    far. Thus a snapshot of a million topics costs no more than one of a thousand.
    """

    def __init__(self, admin: Admin, rows: int, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        """Keep `rows` entries per list. `clock` returns monotonic seconds, `now` the time of day."""
        self._admin = admin
        self._rows = rows
        self._clock = clock
        self._now = now
        self._before: dict[str, tuple[float, int, int]] = {}
        self._cursors: dict[str, str | None] = {}
        self._examined: dict[str, float] = {}
        """The number of topics per broker examined in the first pass; infinite after it."""
        self._kept: dict[str, Topic] = {}
        """The deepest and oldest topics by name."""

    def snapshot(self) -> ClusterSnapshot:
        """Return the next snapshot. Raises the errors of `Admin.brokers`, and `Unavailable` if the front goes away."""
        brokers = self._admin.brokers()
        now = self._clock()
        rates = {each.id: self._rates(each, now) for each in brokers}
        up = [each.id for each in brokers if each.up]
        found = {name: topic for name, topic in self._kept.items() if topic.broker in up}
        for broker in up:
            found |= {each.topic: each for each in self._page(broker)}
        details = self._details(self._candidates(found.values()))
        self._kept = {each.topic: each for each in details}
        deepest, oldest = self._deepest(details), self._oldest(details)
        known = {each.id: each.stats.get("topics", 0) for each in brokers}
        examined = sum(min(self._examined.get(broker, 0), known[broker]) for broker in up)
        return ClusterSnapshot(self._now(), brokers, rates, deepest, oldest, self._slowest(oldest), int(examined))

    def _rates(self, broker: Broker, now: float) -> Rates:
        if not broker.up:
            self._before.pop(broker.id, None)
            return Rates()
        published, delivered = broker.stats.get("published", 0), broker.stats.get("delivered", 0)
        before = self._before.get(broker.id)
        self._before[broker.id] = (now, published, delivered)
        if before is None or published < before[1] or delivered < before[2]:
            return Rates()
        seconds = max(now - before[0], 0.001)
        return Rates((published - before[1]) / seconds, (delivered - before[2]) / seconds)

    def _page(self, broker: str) -> tuple[Topic, ...]:
        """Return the next topics of a broker, after the last one from the beginning again."""
        cursor = self._cursors.get(broker)
        page = self._admin.topic_page(limit=MAX_PAGE, broker=broker, cursor=cursor)
        if page.missing:
            return ()
        self._examined[broker] = self._examined.get(broker, 0) + (len(page.topics) if page.cursor else math.inf)
        self._cursors[broker] = page.cursor
        return page.topics

    def _candidates(self, topics: Iterable[Topic]) -> set[str]:
        held = [each for each in topics if each.messages]
        return {each.topic for each in (*self._deepest(held), *self._oldest(held))}

    def _deepest(self, topics: list[T]) -> list[T]:
        return heapq.nlargest(self._rows, topics, lambda each: (each.messages, each.topic))

    def _oldest(self, topics: list[T]) -> list[T]:
        return heapq.nlargest(self._rows, topics, lambda each: (each.oldest_age, each.topic))

    def _details(self, names: Iterable[str]) -> list[TopicDetails]:
        found = [self._ask(self._admin.topic, name) for name in names]
        return [each for each in found if each is not None and each.messages]

    def _slowest(self, topics: list[TopicDetails]) -> list[SlowSubscription]:
        pairs = [(each.topic, user) for each in topics for user in each.oldest_held_by[:USERS_PER_TOPIC]]
        found = [
            SlowSubscription(topic, subscription)
            for topic, user in pairs[: self._rows]
            if (subscription := self._ask(self._admin.subscription, topic, user)) is not None
        ]
        return sorted(found, key=lambda each: -each.subscription.oldest_age)

    @staticmethod
    def _ask(call: Callable[..., R], *names: str) -> R | None:
        """Return the result of a call, or None if its object or its broker is gone. Raises if the front is gone."""
        try:
            return call(*names)
        except NotFound:
            return None
        except (Unavailable, OutcomeUnknown) as error:
            if error.status:
                return None
            raise


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
