"""What a broker promises, in the plainest way: each user has a list of messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from broker.limits import Limits
from broker.state import MESSAGE_COST, SUBSCRIPTION_COST, TOPIC_COST
from common import ops


class Lost(NamedTuple):
    """`cursor-lost`, and the next id of this user where one waits."""

    oldest: str | None


@dataclass
class ModelTopic:
    """One life of a topic. A queue holds what its user has not got yet."""

    epoch: str
    published: int = 0
    queues: dict[bytes, list[ops.Message]] = field(default_factory=dict)

    @property
    def stored(self) -> dict[int, ops.Message]:
        """What anybody still waits for, once."""
        return {each.seq: each for queue in self.queues.values() for each in queue}

    @property
    def bytes(self) -> int:
        return sum(len(each.headers) + len(each.body) for each in self.stored.values())


@dataclass
class Model:
    """Answers each call with its result, or with the code of its error."""

    store_id: str
    limits: Limits
    lives: int = 0
    topics: dict[bytes, ModelTopic] = field(default_factory=dict)

    def subscribe(self, name: bytes, user: bytes) -> ops.Subscribed | str:
        if name in self.topics and user in self.topics[name].queues:
            return ops.Subscribed(created=False)
        if name not in self.topics and len(self.topics) >= self.limits.topics:
            return "too-many-topics"
        if sum(len(topic.queues) for topic in self.topics.values()) >= self.limits.subscriptions:
            return "too-many-subscriptions"
        topic_cost = 0 if name in self.topics else TOPIC_COST + len(name)
        if self.memory + SUBSCRIPTION_COST + len(user) + topic_cost > self.limits.memory:
            return "memory-full"
        if name not in self.topics:
            self.lives += 1
            self.topics[name] = ModelTopic(f"{self.store_id}{self.lives:x}")
        self.topics[name].queues[user] = []
        return ops.Subscribed(created=True)

    def unsubscribe(self, name: bytes, user: bytes) -> ops.Nothing | str:
        if name not in self.topics or user not in self.topics[name].queues:
            return "no-subscription"
        del self.topics[name].queues[user]
        if not self.topics[name].queues:
            del self.topics[name]
        return ops.Nothing()

    def publish(self, name: bytes, headers: bytes, body: bytes, wall: int) -> ops.Published | str:
        topic, size = self.topics.get(name), len(headers) + len(body)
        if topic is None:
            return ops.Published(0, "", 0)
        if len(topic.stored) >= self.limits.topic_messages or topic.bytes + size > self.limits.topic_bytes:
            return "topic-full"
        if self.memory + size + MESSAGE_COST > self.limits.memory:
            return "memory-full"
        topic.published += 1
        for queue in topic.queues.values():
            queue.append(ops.Message(topic.epoch, topic.published, wall, 1, 0, headers, body))
        return ops.Published(len(topic.queues), topic.epoch, topic.published)

    def take(self, name: bytes, user: bytes, args: ops.Take) -> ops.Message | Lost | str | None:
        if name not in self.topics or user not in self.topics[name].queues:
            return "no-subscription"
        topic = self.topics[name]
        queue = topic.queues[user]
        if args.after and args.seq:
            if args.epoch != topic.epoch or not 1 <= args.seq <= topic.published:
                return Lost(f"{topic.epoch}-{queue[0].seq}" if queue else None)
            queue[:] = [each for each in queue if each.seq > args.seq]
        if not queue:
            return None
        message = queue[0] if args.after else queue.pop(0)
        return replace(message, pending=topic.published - message.seq)

    def look(self, name: bytes, user: bytes) -> ops.Status | str:
        if name not in self.topics or user not in self.topics[name].queues:
            return "no-subscription"
        queue = self.topics[name].queues[user]
        return ops.Status(len(queue), self.topics[name].epoch, queue[0].seq if queue else 0)

    @property
    def memory(self) -> int:
        names = sum(len(n) + sum(map(len, t.queues)) for n, t in self.topics.items())
        messages = sum(len(t.stored) for t in self.topics.values())
        subscriptions = sum(len(t.queues) for t in self.topics.values())
        costs = len(self.topics) * TOPIC_COST + subscriptions * SUBSCRIPTION_COST + messages * MESSAGE_COST
        return names + costs + sum(t.bytes for t in self.topics.values())
