"""Everything a state holds as plain values, and its gauges counted anew from them."""

from __future__ import annotations

from typing import Any

from broker.state import MESSAGE_COST, SUBSCRIPTION_COST, TOPIC_COST, State
from broker.topic import Topic


def snapshot(state: State) -> dict[str, Any]:
    """Two states are equal where their snapshots are; how lists are laid out inside does not count."""
    return {
        "store_id": state.store_id,
        "topics_begun": state.topics_begun,
        "gauges": gauges(state),
        "topics": {name: topic_snapshot(topic) for name, topic in state.topics.items()},
    }


def topic_snapshot(topic: Topic) -> dict[str, Any]:
    pieces = [topic.piece(seq) for seq in range(topic.head_seq, topic.next_seq)]
    return {
        "number": topic.number,
        "epoch": topic.epoch,
        "next_seq": topic.next_seq,
        "head_seq": topic.head_seq,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "tail_readers": topic.tail_readers,
        "readers": [piece.readers for piece in pieces],
        "pieces": [(piece.time, piece.headers, piece.body) for piece in pieces],
        "positions": {user: each.position for user, each in topic.subscriptions.items()},
    }


def gauges(state: State) -> dict[str, int]:
    """As the state keeps them up."""
    return {
        "subscriptions": state.subscriptions,
        "messages": state.messages,
        "content_bytes": state.content_bytes,
        "name_bytes": state.name_bytes,
        "memory": state.memory,
    }


def counted(state: State) -> dict[str, int]:
    """The same, from scratch."""
    topics = list(state.topics.values())
    messages = sum(topic.next_seq - topic.head_seq for topic in topics)
    subscriptions = sum(len(topic.subscriptions) for topic in topics)
    content = sum(
        len(piece.headers) + len(piece.body)
        for topic in topics
        for piece in map(topic.piece, range(topic.head_seq, topic.next_seq))
    )
    names = sum(len(name) + sum(map(len, topic.subscriptions)) for name, topic in state.topics.items())
    return {
        "subscriptions": subscriptions,
        "messages": messages,
        "content_bytes": content,
        "name_bytes": names,
        "memory": content
        + names
        + messages * MESSAGE_COST
        + subscriptions * SUBSCRIPTION_COST
        + len(topics) * TOPIC_COST,
    }


def check_state(state: State) -> None:
    """What must hold of every state between two requests."""
    assert gauges(state) == counted(state)
    for name, topic in state.topics.items():
        positions = [each.position for each in topic.subscriptions.values()]
        assert name == topic.name
        assert positions, "a topic without subscriptions leaves nothing behind"
        assert topic.head_seq == min(positions), "stored is what somebody wants, up to the tail"
        assert topic.tail_readers == positions.count(topic.next_seq)
        for seq in range(topic.head_seq, topic.next_seq):
            assert topic.piece(seq).readers == positions.count(seq)
        assert topic.bytes == sum(topic.piece(n).size for n in range(topic.head_seq, topic.next_seq))
