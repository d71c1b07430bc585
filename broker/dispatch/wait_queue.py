"""A parked request, the queue of those of one user, and the answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Waiter:
    """One parked request. `deadline` in microseconds of the monotonic clock."""

    ticket: int
    """Its place in the queue: the smallest is served first."""
    peer_id: bytes
    request_id: int
    deadline: int
    queue: WaitQueue | None = field(default=None, repr=False)
    """Where it is parked; None once it is answered."""
    seq: int = 0
    """Of a stream: the number of the message that it waits for; 0: this is no stream."""
    place: tuple[int, int] = (0, 0)
    """The ticket, of a stream `seq`; then the order of parking among requests with the same number."""


@dataclass(slots=True, eq=False)
class WaitQueue:
    """The waiters of one user of one topic."""

    topic: bytes
    user: bytes
    waiters: list[Waiter] = field(default_factory=list)
    """Ordered by place."""
    streams: list[Waiter] = field(default_factory=list)
    """The streams, ordered by place."""
    news: bool = False
    """The streams are woken whatever they wait for."""
    open_wakes: deque[int] = field(default_factory=deque)
    """Deadlines of the wakes that nothing has followed yet, the oldest first."""
    queued: bool = False
    """It is in the queue of those to examine."""
    ended: bool = False
    """The subscription is gone: all its waiters are woken and find that out."""


class Wake(NamedTuple):
    """An answer to a parked request."""

    peer_id: bytes
    request_id: int
    ticket: int
    now: bool
    topic: bytes
    user: bytes
