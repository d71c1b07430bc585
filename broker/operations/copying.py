"""The copy of the logs of a slot that is to leave, made while it is in use: little is left to send when it is frozen.

Stored pieces never change: a log only grows at its end, and loses pieces at its head. So the target is sent pieces in
rounds, each from where the last one ended, until what is left fits in one part. What it has of a log is held by a
reader whom no client can name. A log that was begun anew meanwhile, or whose head has passed what was copied, begins
anew at the target, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from broker import records
from broker.operations.context import Context
from broker.operations.packing import Packer, Part, piece_record
from broker.records import Record
from broker.state.piece import MESSAGE_COST
from broker.state.topic import Topic

HOLDER = b""
"""The user who holds copied pieces until the slot arrives."""
MOST_ROUNDS = 16
"""Rounds after which the slot is frozen, however much is left: publishers may be almost as fast as the copy."""


@dataclass(slots=True)
class CopiedLog:
    """What the target has of a log."""

    epoch: str
    head: int
    next_seq: int
    stored_bytes: int
    """As in `PieceList`, of what comes before `next_seq`."""

    def continues(self, topic: Topic | None) -> bool:
        """Return whether what was copied can be gone on with."""
        return topic is not None and topic.epoch == self.epoch and topic.head_seq <= self.next_seq


class _Rest(NamedTuple):
    """What is not copied of a topic at the beginning of a round."""

    name: bytes
    until: int
    """The next number then; what comes later is for the next round."""
    messages: int
    bytes: int


class Copy:
    """Of one slot that is in use. Volatile, as its move is until it freezes the slot."""

    def __init__(self, context: Context, slot: int) -> None:
        self.logs: dict[bytes, CopiedLog] = {}
        """By topic."""
        self._context = context
        self._slot = slot
        self._rounds = self._weight = 0
        """Rounds begun, and how much the last one had to copy: less with each of them."""
        self._left: list[_Rest] = []
        """Of the round, the next one last."""

    def next_part(self) -> Part | None:
        """Return some of what is not copied, None where the slot is to be frozen. Raise `StoreError`."""
        if not self._left and not self._begin_round():
            return None
        limits = self._context.thresholds
        packer = Packer(limits.copied_bytes, limits.copied_records)
        while self._left and self._copy(packer, self._left[-1]):
            self._left.pop()
        return packer.take()

    @property
    def small(self) -> bool:
        """Return whether so little is not copied that the slot is to be frozen."""
        return self._is_small(self._rest())

    def _begin_round(self) -> bool:
        rest = self._rest()
        weight = sum(each.bytes + each.messages * MESSAGE_COST for each in rest)
        if self._is_small(rest) or self._rounds == MOST_ROUNDS or (self._rounds and weight >= self._weight):
            return False
        self._rounds, self._weight, self._left = self._rounds + 1, weight, rest
        return True

    def _is_small(self, rest: list[_Rest]) -> bool:
        limits = self._context.thresholds
        messages, size = sum(each.messages for each in rest), sum(each.bytes for each in rest)
        return messages <= limits.copied_records and size <= limits.copied_bytes

    def _rest(self) -> list[_Rest]:
        state = self._context.state
        rest = []
        for name in state.slots.names.get(self._slot, ()):
            topic, log = state.topics.get(name), self.logs.get(name)
            if topic is None:
                continue
            known = log is not None and log.continues(topic)
            copied = (log.next_seq, log.stored_bytes) if log and known else _before(topic)
            if topic.next_seq > copied[0]:
                rest.append(_Rest(name, topic.next_seq, topic.next_seq - copied[0], topic.stored_bytes - copied[1]))
        return rest

    def _copy(self, packer: Packer, rest: _Rest) -> bool:
        """Copy of one topic; return whether all of the round was."""
        if not packer.has_room(0):
            return False
        topic, log = self._context.state.topics.get(rest.name), self.logs.get(rest.name)
        if log is not None and not log.continues(topic):
            packer.add(*forget(rest.name))
            del self.logs[rest.name]
            log = None
        if topic is None or not topic.messages:
            return True
        if log is None:
            packer.add(records.TopicBegan(topic.name, topic.number, topic.head_seq, topic.epoch))
            packer.add(records.SubscriptionSet(topic.name, HOLDER, topic.head_seq))
            log = self.logs[topic.name] = CopiedLog(topic.epoch, topic.head_seq, *_before(topic))
        for piece in topic.pieces(log.next_seq) if log.next_seq < topic.next_seq else ():
            if piece.first >= rest.until:
                break
            if not packer.has_room(piece.size):
                return False
            packer.add(piece_record(self._context, topic, piece))
            log.next_seq, log.stored_bytes = piece.end, log.stored_bytes + piece.size
        return True


def forget(name: bytes) -> Iterator[Record]:
    """Yield the records that end at the target what was copied of a topic."""
    yield records.SubscriptionEnded(name, HOLDER)
    yield records.TopicEnded(name)


def _before(topic: Topic) -> tuple[int, int]:
    """Return the number of the oldest message, and the bytes that were stored before."""
    return topic.head_seq, topic.stored_bytes - topic.bytes
