"""Every ceiling of a broker in one place. Reading and unsubscribing are allowed at all of them."""

from __future__ import annotations

from typing import NamedTuple

from broker.state import MESSAGE_COST, SUBSCRIPTION_COST, TOPIC_COST, State
from broker.topic import Topic
from common.errors import FanmailError


class Limits(NamedTuple):
    """Ceilings; a request that would go over one is refused and changes nothing."""

    topics: int
    subscriptions: int
    topic_messages: int
    """Stored messages of one topic."""
    topic_bytes: int
    """Stored content bytes of one topic."""
    memory: int
    """Estimated bytes of the whole broker."""

    def check_publish(self, state: State, topic: Topic, size: int, count: int = 1) -> None:
        """Raises `topic-full` (429) or `memory-full` (503). `size` is of headers, body and offsets, in bytes."""
        if topic.messages + count > self.topic_messages:
            raise FanmailError(
                "topic-full", f"the topic holds {topic.messages} messages, its ceiling is {self.topic_messages}"
            )
        if topic.bytes + size > self.topic_bytes:
            raise FanmailError(
                "topic-full",
                f"the topic holds {topic.bytes} bytes and its ceiling is {self.topic_bytes}; this is {size} more",
            )
        self._check_memory(state, size + MESSAGE_COST)

    def check_subscribe(self, state: State, name: bytes, user: bytes) -> None:
        """Raises `too-many-topics`, `too-many-subscriptions` (429) or `memory-full` (503) for a new subscription."""
        if name not in state.topics and len(state.topics) >= self.topics:
            raise FanmailError("too-many-topics", f"the broker holds {self.topics} topics, its ceiling")
        if state.subscriptions >= self.subscriptions:
            raise FanmailError(
                "too-many-subscriptions", f"the broker holds {self.subscriptions} subscriptions, its ceiling"
            )
        topic_cost = 0 if name in state.topics else TOPIC_COST + len(name)
        self._check_memory(state, SUBSCRIPTION_COST + len(user) + topic_cost)

    def _check_memory(self, state: State, more: int) -> None:
        if state.memory + more > self.memory:
            raise FanmailError("memory-full", f"the broker is at its ceiling of {self.memory} bytes of memory")
