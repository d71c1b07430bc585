"""One life of a topic in the model: the pieces of its log, and its users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.state.piece import MESSAGE_COST
from broker.state.topic_settings import TopicSettings
from common.clock import Now
from tests.support.model_mail import Item, Mail
from tests.support.model_user import ModelUser


class LogPiece(NamedTuple):
    """A message or a batch in the log, which is dropped as a whole."""

    first: int
    count: int
    time: int
    size: int
    expires: int


@dataclass(slots=True, eq=False)
class ModelTopic:
    """A topic whose log begins with the first piece that is needed."""

    epoch: str
    settings: TopicSettings
    own: dict[str, int | bool] = field(default_factory=dict)
    """The settings that the operator has made for this topic."""
    next_seq: int = 1
    pieces: list[LogPiece] = field(default_factory=list)
    users: dict[bytes, ModelUser] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return self.pieces[0].first if self.pieces else self.next_seq

    @property
    def messages(self) -> int:
        return self.next_seq - self.head

    @property
    def bytes(self) -> int:
        return sum(piece.size for piece in self.pieces)

    def tidy(self) -> None:
        """Drop the pieces at the head of the log that no user needs."""
        wanted = min((user.needs_from() for user in self.users.values()), default=self.next_seq)
        while self.pieces and self.pieces[0].first + self.pieces[0].count <= wanted:
            del self.pieces[0]

    def too_small_for(self, size: int, count: int) -> bool:
        return count > self.settings.max_messages or size > self.settings.max_bytes

    def too_many_for(self, size: int, count: int) -> int:
        """Return how many of the oldest pieces must be dropped for a publish."""
        most, room = self.settings.max_messages - count, self.settings.max_bytes - size
        for number in range(len(self.pieces) + 1):
            left = self.pieces[number:]
            if sum(piece.count for piece in left) <= most and sum(piece.size for piece in left) <= room:
                return number
        raise AssertionError("it fits nowhere")

    def memory_of_first(self, number: int) -> int:
        return sum(piece.size + MESSAGE_COST for piece in self.pieces[:number])

    def store(self, headers: bytes, bodies: Sequence[bytes], size: int, ttl: int, now: Now, date: int) -> None:
        """Store messages for everyone who is subscribed now."""
        expires = now.time + ttl if ttl else 0
        self.pieces.append(LogPiece(self.next_seq, len(bodies), now.time, size, expires))
        for seq, body in enumerate(bodies, self.next_seq):
            mail = Mail(seq, date, headers, body, expires)
            for user in self.users.values():
                user.items.append(Item(mail))
        self.next_seq += len(bodies)
        for user in self.users.values():
            user.items.sort(key=lambda each: each.seq)

    def why_too_old(self, now: Now) -> str:
        """Return why the oldest piece is too old, or ""."""
        if not self.pieces:
            return ""
        piece, max_age = self.pieces[0], self.settings.max_age
        if max_age and piece.time + max_age <= now.time:
            return "max-age"
        return "ttl" if 0 < piece.expires <= now.time else ""
