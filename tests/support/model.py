"""The promises of a broker in the plainest form, from docs/http-api.md: each user has a list of messages.

There are no counters and no early work: each call first does everything that is due. Where the API leaves a choice,
a comment states the decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from broker.operations.limits import Limits
from broker.state.delayed import DELAYED_COST
from broker.state.delivery_state import DELIVERY_STATE_COST
from broker.state.idempotency import KEY_COST
from broker.state.piece import MESSAGE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic_settings import TopicSettings
from common.clock import Now, StepWatch
from common.protocol import ops
from tests.support.model_shares import heaviest, share, weights_of
from tests.support.model_topic import ModelTopic
from tests.support.model_user import ModelUser

Answer = TypeVar("Answer")
RETRY_MS = 1000
"""Milliseconds until a delayed publish whose topic has no room is tried again."""


@dataclass(slots=True, eq=False)
class Aside:
    """A delayed publish."""

    number: int
    topic: bytes
    args: ops.Publish
    bodies: Sequence[bytes]
    due: int
    tried_at: int
    """When to publish it: when it is due, or later."""

    @property
    def weight(self) -> int:
        return DELAYED_COST + len(self.topic) + size_of(self.args)


@dataclass(slots=True, eq=False)
class Remembered:
    """A publish with an idempotency key."""

    topic: bytes
    key: bytes
    digest: bytes
    at: int
    answer: ops.Published

    @property
    def weight(self) -> int:
        return KEY_COST + len(self.topic) + len(self.key)


@dataclass
class Model:
    """Returns the result of each call, or the code of its error."""

    store_id: str
    limits: Limits
    ceilings: Mapping[bytes, TopicSettings] = field(default_factory=dict)
    """The settings that the operator has made for topics."""
    lives: int = 0
    topics: dict[bytes, ModelTopic] = field(default_factory=dict)
    aside: list[Aside] = field(default_factory=list)
    """In the order in which they were accepted or last tried."""
    delayed: int = 0
    """The number of the last delayed publish."""
    keys: list[Remembered] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Counters of events since the start of the broker."""
    paused: bool = False
    """Whether the operator has paused the broker."""
    watch: StepWatch = field(default_factory=StepWatch)
    shift: int = 0
    """How far dates are ahead of the broker's time, in milliseconds."""
    floor: int = 0
    """Dates never go back before this one."""

    def date(self, now: Now) -> int:
        return max(self.floor, now.time + self.shift)

    def user(self, name: bytes, user: bytes) -> ModelUser | None:
        topic = self.topics.get(name)
        return topic.users.get(user) if topic else None

    def users(self) -> list[ModelUser]:
        return [user for topic in self.topics.values() for user in topic.users.values()]

    def configured(self, name: bytes) -> TopicSettings:
        return self.ceilings.get(name, self.limits.topic_settings)

    def settings(self, name: bytes) -> TopicSettings:
        topic = self.topics.get(name)
        return topic.settings if topic else self.configured(name)

    def subscribe(self, name: bytes, user: bytes, args: ops.Settings, now: Now) -> ops.Subscribed | str:
        if self.user(name, user) is not None:
            refused = self.configure(name, user, args, now)
            return refused if isinstance(refused, str) else ops.Subscribed(created=False)
        if self.paused:
            return "paused"
        if name not in self.topics and len(self.topics) >= self.limits.topics:
            return "too-many-topics"
        own = len(self.topics[name].users) if name in self.topics else 0
        if not share(self.limits.subscriptions, len(self.users()), own, self.limits.subscription_share):
            return "too-many-subscriptions"
        topic_cost = 0 if name in self.topics else TOPIC_COST + len(name)
        settings_cost = DELIVERY_STATE_COST if args.expires_after or args.max_deliveries else 0
        if not self.has_memory(SUBSCRIPTION_COST + len(user) + topic_cost + settings_cost):
            return "memory-full"
        if name not in self.topics:
            self.lives += 1
            self.topics[name] = ModelTopic(f"{self.store_id}{self.lives:x}", self.settings(name))
        topic = self.topics[name]
        topic.users[user] = ModelUser(self, topic)
        self.configure(name, user, args, now)
        return ops.Subscribed(created=True)

    def configure(self, name: bytes, user: bytes, args: ops.Settings, now: Now) -> ops.Nothing | str:
        return self.on(name, user, lambda found: found.configure(args), now)

    def unsubscribe(self, name: bytes, user: bytes) -> ops.Nothing | str:
        if self.user(name, user) is None:
            return "no-subscription"
        topic = self.topics[name]
        del topic.users[user]
        topic.tidy()
        if not topic.users:
            del self.topics[name]
            self.keys = [each for each in self.keys if each.topic != name]
        return ops.Nothing()

    def publish(self, name: bytes, args: ops.Publish, bodies: Sequence[bytes], now: Now) -> ops.Published | str:
        known = next((each for each in self.keys if (each.topic, each.key) == (name, args.key)), None)
        if known is not None and known.digest != args.digest:
            return "key-reused"
        if known is not None:
            self.counts["publishes.replayed"] += 1
            due = known.answer.due_ms and known.answer.due_ms + self.shift
            return replace(known.answer, due_ms=due, replayed=True)
        if self.paused:
            return "paused"
        topic, weight = self.topics.get(name), KEY_COST + len(name) + len(args.key) if args.key else 0
        if args.delay:
            answer = self.put_aside(name, args, bodies, weight, now)
        elif topic is None:
            self.counts["dropped.no-subscribers"] += len(bodies)
            return ops.Published(0, "", 0)
        else:
            answer = self.store(topic, args, bodies, size_of(args) + MESSAGE_COST + weight, now)
        if args.key and isinstance(answer, ops.Published):
            self.remember(Remembered(name, args.key, args.digest, now.mono, answer))
        if isinstance(answer, ops.Published) and answer.due_ms:
            return replace(answer, due_ms=answer.due_ms + self.shift)
        return answer

    def publish_apart(
        self, name: bytes, args: ops.PublishApart, bodies: Sequence[bytes], now: Now
    ) -> ops.PublishedApart:
        """Publish messages that stand apart: as one piece, or one by one where that makes a difference."""
        topic, keys = self.topics.get(name), args.keys or [b""] * len(bodies)
        known = {each.key for each in self.keys if each.topic == name}
        given = [key for key in keys if key]
        result = ops.PublishedApart(0, topic.epoch if topic else "", topic.next_seq if topic else 0)
        if topic and not (self.paused or topic.settings.drop_oldest or known & {*given} or len({*given}) < len(given)):
            together = ops.Publish(args.headers, args.body, len(bodies), args.offsets, args.ttl)
            weight = sum(KEY_COST + len(name) + len(key) for key in given)
            stored = self.store(topic, together, bodies, size_of(together) + MESSAGE_COST + weight, now)
            if isinstance(stored, ops.Published):
                for index, key in enumerate(keys):
                    if key:
                        answer = replace(stored, seq=stored.seq + index)
                        self.remember(Remembered(name, key, args.digests[index], now.mono, answer))
                return replace(result, subscribers=stored.subscribers)
        for index, (body, key) in enumerate(zip(bodies, keys, strict=True)):
            digest = args.digests[index] if key else b""
            said = self.publish(
                name, ops.Publish(args.headers, body, ttl=args.ttl, key=key, digest=digest), [body], now
            )
            if isinstance(said, str):
                result.refused.append((index, said, ""))
            elif said.replayed:
                result.replayed.append((index, said.subscribers, said.seq))
            else:
                result.subscribers = said.subscribers
        return result

    def put_aside(
        self, name: bytes, args: ops.Publish, bodies: Sequence[bytes], key: int, now: Now
    ) -> ops.Published | str:
        aside = Aside(self.delayed + 1, name, args, bodies, now.time + args.delay, now.time + args.delay)
        if ModelTopic("", self.settings(name)).too_small_for(size_of(args), len(bodies)):
            return "topic-full"
        if not self.may_wait(name, aside.weight):
            return "too-many-delayed"
        if not self.has_memory(aside.weight + key):
            return "memory-full"
        self.delayed += 1
        self.aside.append(aside)
        return ops.Published(0, "", 0, aside.due)

    def store(
        self, topic: ModelTopic, args: ops.Publish, bodies: Sequence[bytes], memory: int, now: Now
    ) -> ops.Published | str:
        """Store a publish. `memory` is how much more of it is needed if nothing is dropped."""
        size, count = size_of(args), len(bodies)
        if topic.too_small_for(size, count):
            return "topic-full"
        in_the_way = topic.too_many_for(size, count)
        if in_the_way and not topic.settings.drop_oldest:
            return "topic-full"
        if not self.has_memory(memory - topic.memory_of_first(in_the_way)):
            return "memory-full"
        self.drop_oldest_pieces(topic, in_the_way, "overflow")
        self.counts["published"] += count
        seq = topic.next_seq
        topic.store(args.headers, bodies, size, args.ttl, now, self.date(now))
        return ops.Published(len(topic.users), topic.epoch, seq)

    def drop_oldest_pieces(self, topic: ModelTopic, pieces: int, reason: str) -> None:
        self.counts[f"dropped.{reason}"] += sum(piece.count for piece in topic.pieces[:pieces])
        del topic.pieces[:pieces]

    def remember(self, key: Remembered) -> None:
        if sum(each.topic == key.topic for each in self.keys) >= self.limits.keys:
            self.counts["keys.forgotten"] += 1
            self.keys.remove(next(each for each in self.keys if each.topic == key.topic))
        while self.keys and self.key_bytes() + key.weight > self.limits.key_bytes:
            self.counts["keys.forgotten"] += 1
            weights = weights_of((each.topic, each.weight) for each in self.keys)
            self.keys.remove(next(each for each in self.keys if each.topic == heaviest(weights)))
        self.keys.append(key)

    def on(self, name: bytes, user: bytes, call: Callable[[ModelUser], Answer], now: Now) -> Answer | str:
        """Make a call on a subscription, whose idle time begins again."""
        found = self.user(name, user)
        if found is None:
            return "no-subscription"
        found.idle_from = now.mono
        answer = call(found)
        found.topic.tidy()
        return answer

    def look(self, name: bytes, user: bytes, now: Now) -> ops.Status | str:
        found = self.user(name, user)
        return "no-subscription" if found is None else found.look(now)

    def time_passed(self, now: Now) -> None:
        """Do everything that is due, as the broker does before each request."""
        shift = self.watch.look(now, self.shift)
        if shift != self.shift:
            self.floor, self.shift = self.date(now), shift
        for user in self.users():
            user.time_passed(now)
        for name, topic in list(self.topics.items()):
            topic.tidy()
            for user in [each for each, found in topic.users.items() if found.idle_for_too_long(now)]:
                self.counts["subscriptions.expired"] += 1
                self.unsubscribe(name, user)
        self.drop_too_old(now)
        for aside in sorted(self.aside, key=lambda each: each.tried_at):
            if aside.tried_at <= now.time:
                self.publish_delayed(aside, now)
        self.drop_too_old(now)  # the one that they have made the oldest
        self.keys = [each for each in self.keys if each.at + self.limits.key_ttl > now.mono]

    def drop_too_old(self, now: Now) -> None:
        for topic in self.topics.values():
            while reason := topic.why_too_old(now):
                self.drop_oldest_pieces(topic, 1, reason)

    def publish_delayed(self, aside: Aside, now: Now) -> None:
        """Publish a delayed message as if it was sent now, or again a second later if there is no room."""
        self.aside.remove(aside)
        topic = self.topics.get(aside.topic)
        if topic is None:
            self.counts["delayed.unwanted"] += len(aside.bodies)
        elif topic.too_small_for(size_of(aside.args), len(aside.bodies)):
            self.counts["dropped.too-large"] += len(aside.bodies)  # its limit was higher when it was accepted
        elif self.store(topic, aside.args, aside.bodies, 0, now) == "topic-full":
            aside.tried_at = now.time + RETRY_MS
            self.aside.append(aside)

    def restarted(self) -> None:
        """Continue as another process with what is stored."""
        self.counts.clear()
        self.paused = False
        self.watch = StepWatch()
        for user in self.users():
            user.idle_from = None
        self.aside.sort(key=lambda each: each.number)
        self.delayed = max((each.number for each in self.aside), default=0)
        for aside in self.aside:
            aside.tried_at = aside.due

    def has_memory(self, more: int) -> bool:
        return more <= 0 or self.memory() + more <= self.limits.memory

    def key_bytes(self) -> int:
        return sum(each.weight for each in self.keys)

    def may_wait(self, name: bytes, weight: int) -> bool:
        """Return whether a delayed publish fits into the limits of number and memory, which topics share."""
        limits, own = self.limits, [each.weight for each in self.aside if each.topic == name]
        enough = share(limits.delayed, len(self.aside), len(own), limits.topic_share)
        total = sum(each.weight for each in self.aside)
        return bool(enough and share(limits.memory // 4, total, sum(own), limits.topic_share, weight))

    def room_to_hold(self, topic: ModelTopic, unit: int) -> int:
        """Return whether leases fit into a quarter of the memory, which topics share."""
        own = sum(user.held_weight() for user in topic.users.values())
        total = sum(user.held_weight() for user in self.users())
        return share(self.limits.memory // 4, total, own, self.limits.topic_share, unit)

    def drop_dead(self) -> None:
        """Drop dead letters beyond a quarter of the memory, those of the topic and its user with the most first."""
        topics = self.topics.items()
        while sum(user.dead_weight() for user in self.users()) > self.limits.memory // 4:
            dead = {name: {who: user.dead_weight() for who, user in each.users.items()} for name, each in topics}
            name = heaviest({name: sum(users.values()) for name, users in dead.items()})
            self.counts["dropped.dead"] += 1
            del self.topics[name].users[heaviest(dead[name])].dead[0]

    def memory(self) -> int:
        topics = self.topics.values()
        names = sum(map(len, self.topics)) + sum(len(user) for topic in topics for user in topic.users)
        costs = len(topics) * TOPIC_COST + len(self.users()) * SUBSCRIPTION_COST
        logs = sum(topic.memory_of_first(len(topic.pieces)) for topic in topics)
        aside = sum(each.weight for each in self.aside)
        return names + costs + logs + aside + self.key_bytes() + sum(user.weight() for user in self.users())


def size_of(args: ops.Publish) -> int:
    """Return the size of the content in bytes."""
    return len(args.headers) + len(args.body) + len(args.offsets)
