"""What `fanmail top` shows: one look at a cluster after the other, through the operations port."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TypeVar

from fanmail.admin import Admin
from fanmail.admin_calls import MOST_PAGE
from fanmail.cluster import Broker, Subscription, Topic, TopicDetails
from fanmail.errors import NotFound, OutcomeUnknown, Unavailable

T = TypeVar("T", bound=Topic)
R = TypeVar("R")

USERS_OF_A_TOPIC = 3
"""Of those who hold its oldest message; others should be seen too."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages a second since the look before; None where there was none, or the process is another."""

    published: float | None = None
    delivered: float | None = None


@dataclass(frozen=True, slots=True)
class Slow:
    """A user who holds the oldest message of a topic."""

    topic: str
    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Look:
    """One look."""

    at: datetime
    brokers: tuple[Broker, ...] = ()
    rates: dict[str, Rates] = field(default_factory=dict)
    """By broker."""
    deepest: list[TopicDetails] = field(default_factory=list)
    """Topics with the most messages, of those looked at so far."""
    oldest: list[TopicDetails] = field(default_factory=list)
    """Topics with the oldest messages, of those looked at so far."""
    slowest: list[Slow] = field(default_factory=list)
    looked_at: int = 0
    """Topics looked at so far, until it has gone through all of them once."""

    @property
    def topics(self) -> int:
        """Topics of the brokers that answer."""
        return self.total("topics")

    def total(self, name: str) -> int:
        """A gauge of all brokers together."""
        return sum(each.stats.get(name, 0) for each in self.brokers)

    def total_rate(self, name: str) -> float | None:
        """Of all brokers together; None where none is known."""
        known = [each for rates in self.rates.values() if (each := getattr(rates, name)) is not None]
        return sum(known) if known else None

    @property
    def oldest_age(self) -> float:
        """Seconds, of the oldest message anywhere."""
        return max((each.stats.get("oldest_age_ms", 0) for each in self.brokers), default=0) / 1000

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "time": self.at.isoformat(timespec="milliseconds"),
            "published_per_second": _rounded(self.total_rate("published")),
            "delivered_per_second": _rounded(self.total_rate("delivered")),
            "messages": self.total("messages"),
            "oldest_age": self.oldest_age,
            "topics": self.topics,
            "looked_at": self.looked_at,
            "brokers": [self._broker(each) for each in self.brokers],
            "deepest": [asdict(each) for each in self.deepest],
            "oldest": [asdict(each) for each in self.oldest],
            "slowest": [{"topic": each.topic} | asdict(each.subscription) for each in self.slowest],
        }

    def _broker(self, broker: Broker) -> dict[str, object]:
        rates = self.rates.get(broker.id, Rates())
        return asdict(broker) | {
            "state": broker.state,
            "published_per_second": _rounded(rates.published),
            "delivered_per_second": _rounded(rates.delivered),
        }


class Watch:
    """Looks again and again. Each time at all brokers, a thousand more topics of each, and again at the deepest and the
    oldest topics that were found before, so that a million topics cost a look no more than a thousand do.
    """

    def __init__(self, admin: Admin, rows: int, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        """`rows` of each list; `clock` in seconds, monotonic; `now` for a person."""
        self._admin = admin
        self._rows = rows
        self._clock = clock
        self._now = now
        self._before: dict[str, tuple[float, int, int]] = {}
        self._cursors: dict[str, str | None] = {}
        self._looked: dict[str, float] = {}
        """Topics of each broker looked at in the first round through them; infinite behind it."""
        self._found: dict[str, Topic] = {}

    def look(self) -> Look:
        """Raises what the first call does, and `Unavailable` where the front goes away meanwhile."""
        brokers = self._admin.brokers()
        now = self._clock()
        rates = {each.id: self._rates(each, now) for each in brokers}
        up = [each.id for each in brokers if each.up]
        found = {name: topic for name, topic in self._found.items() if topic.broker in up}
        for broker in up:
            found |= {each.topic: each for each in self._page(broker)}
        details = self._details(self._candidates(found.values()))
        self._found = {each.topic: each for each in details}
        deepest, oldest = self._deepest(details), self._oldest(details)
        known = {each.id: each.stats.get("topics", 0) for each in brokers}
        looked = sum(min(self._looked.get(broker, 0), known[broker]) for broker in up)
        return Look(self._now(), brokers, rates, deepest, oldest, self._slowest(oldest), int(looked))

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
        """A thousand more topics of a broker."""
        cursor = self._cursors.get(broker)
        page = self._admin.topic_page(limit=MOST_PAGE, broker=broker, cursor=cursor)
        if page.missing:
            return ()
        self._looked[broker] = self._looked.get(broker, 0) + (len(page.topics) if page.cursor else math.inf)
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
        found = [self._asked(self._admin.topic, name) for name in names]
        return [each for each in found if each is not None and each.messages]

    def _slowest(self, topics: list[TopicDetails]) -> list[Slow]:
        pairs = [(each.topic, user) for each in topics for user in each.oldest_held_by[:USERS_OF_A_TOPIC]]
        found = [
            Slow(topic, stands)
            for topic, user in pairs[: self._rows]
            if (stands := self._asked(self._admin.subscription, topic, user)) is not None
        ]
        return sorted(found, key=lambda each: -each.subscription.oldest_age)

    @staticmethod
    def _asked(ask: Callable[..., R], *names: str) -> R | None:
        """None for what is gone, or whose broker went away meanwhile; the front must be there."""
        try:
            return ask(*names)
        except NotFound:
            return None
        except (Unavailable, OutcomeUnknown) as error:
            if error.status:
                return None
            raise


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
