"""Stores for tests: one that keeps live state as a durable one must, and one that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from broker.records import (
    MessageStored,
    Record,
    StoreOpened,
    SubscriptionEnded,
    SubscriptionSet,
    TopicBegan,
    TopicEnded,
    Trimmed,
)
from broker.store.base import StoreError


@dataclass
class Kept:
    """What is alive of one topic."""

    number: int
    next_seq: int
    messages: dict[int, MessageStored] = field(default_factory=dict)
    positions: dict[bytes, int] = field(default_factory=dict)


class MirrorStore:
    """Keeps what lives, and nothing else, from the records alone: the stand-in for a durable store."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id
        self._topics_begun = 0
        self.topics: dict[bytes, Kept] = {}

    @property
    def rows(self) -> int:
        """How much is kept: one for each topic, message and subscription."""
        return sum(1 + len(each.messages) + len(each.positions) for each in self.topics.values())

    def load(self) -> Iterator[Record]:
        yield StoreOpened(self._store_id, self._topics_begun)
        for name, topic in self.topics.items():
            yield TopicBegan(name, topic.number, topic.next_seq - sum(each.count for each in topic.messages.values()))
            yield from topic.messages.values()
            for user, position in topic.positions.items():
                yield SubscriptionSet(name, user, position)

    def commit(self, records: Sequence[Record]) -> None:
        assert records, "commit is never called with none"
        for record in records:
            self._keep(record)

    def close(self) -> None:
        """Nothing is open."""

    def _keep(self, record: Record) -> None:
        match record:
            case TopicBegan(topic=name, number=number, next_seq=next_seq):
                assert name not in self.topics
                assert number > self._topics_begun, "a number is never given out again"
                self.topics[name] = Kept(number, next_seq)
                self._topics_begun = number
            case TopicEnded(topic=name):
                assert not self.topics[name].positions
                del self.topics[name]
            case MessageStored(topic=name, seq=seq):
                assert seq == self.topics[name].next_seq, "no gaps"
                self.topics[name].messages[seq] = record
                self.topics[name].next_seq += record.count
            case SubscriptionSet(topic=name, user=user, position=position):
                self.topics[name].positions[user] = position
            case SubscriptionEnded(topic=name, user=user):
                del self.topics[name].positions[user]
            case Trimmed(topic=name, head=head):
                for seq in [seq for seq in self.topics[name].messages if seq < head]:
                    del self.topics[name].messages[seq]
            case _:
                raise AssertionError(f"not a change: {record}")


class FailingStore(MirrorStore):
    """Its disk is full: no commit succeeds."""

    def commit(self, records: Sequence[Record]) -> None:
        raise StoreError("no space left on the device")
