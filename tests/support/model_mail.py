"""The model's messages and replies to readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from broker.state.leases import DEAD_LETTER_COST
from common.clock import Now

FRESH, LEASED, WAITING, DELAYED, DEAD = "fresh", "leased", "waiting", "delayed", "dead"


class Mail(NamedTuple):
    """A message as it was published."""

    seq: int
    time: int
    """The date that clients get."""
    headers: bytes
    body: bytes
    expires: int

    def expired(self, now: Now) -> bool:
        return 0 < self.expires <= now.time


class Lost(NamedTuple):
    """`cursor-lost`, and the next id of this user if a message waits."""

    oldest: str | None


class Got(NamedTuple):
    """Messages delivered together: number, time, kept headers, body and attempt of each."""

    epoch: str
    pending: int
    messages: list[tuple[int, int, bytes, bytes, int]]


@dataclass(slots=True, eq=False)
class Item:
    """An unacknowledged message of a user."""

    mail: Mail
    state: str = FRESH
    attempt: int = 0
    until: int = 0
    """When the lease or the delay ends."""
    own: bool = False
    """Whether it was put back from the dead letters, and thus does not depend on the log."""
    put_back_at: int = 0
    """The number of attempts when it was put back."""

    @property
    def deliveries(self) -> int:
        """The number of deliveries since it was put back, or ever."""
        return self.attempt - self.put_back_at

    @property
    def seq(self) -> int:
        return self.mail.seq

    def letter_weight(self) -> int:
        """Return the memory of a dead letter outside of the log."""
        return len(self.mail.headers) + len(self.mail.body) + DEAD_LETTER_COST
