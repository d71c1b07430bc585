"""An operation from when it is made until its result is known, and the lanes in which operations keep their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fanmail.errors import FanmailError, LeaseLost
from fanmail.session import ops
from fanmail.session.ops import Op

MAX_TOGETHER = 1000
"""Leases that are acknowledged together: what a server takes."""
MAX_TOGETHER_CHARACTERS = 24 * 1024
"""The characters of their receipts, which every server takes in one message."""

Settle = Callable[[Any, FanmailError | None], object]
"""Called once, with the result or with an error."""


class Pending:
    """An operation whose result is not known."""

    __slots__ = ("data", "ends", "number", "op", "settle", "unknown")

    def __init__(self, op: Op[Any], number: int, ends: float, settle: Settle) -> None:
        """Raise ValueError for what JSON cannot carry."""
        self.op: Op[Any] = op
        self.number: int = number
        """Its `ref`, which says its place in the order of a lane, too."""
        self.data: bytes = op.encode(number)
        self.ends: float = ends
        """The time after which it is not tried again."""
        self.settle: Settle = settle
        self.unknown: bool = False
        """Whether a try may have been executed."""

    def encode(self) -> bytes:
        """Return the text of its frame as it is now."""
        return self.data


class Together(Pending):
    """Acknowledgements of leases of one mailbox, sent as one operation. Each is settled as if it had been alone."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Pending]) -> None:
        first = parts[0]
        members = first.op.members
        op = ops.acknowledge_all(members["topic"], members["user"], [each.op.receipt for each in parts])
        super().__init__(op, first.number, parts[-1].ends, partial(_settle_each, parts))
        self.parts: list[Pending] = parts


def with_those_behind(first: Pending, queue: deque[Pending]) -> Pending:
    """Return an acknowledgement of a lease together with those that follow in a queue, which are taken from it."""
    parts, room = [first], MAX_TOGETHER_CHARACTERS - len(first.op.receipt)
    while queue and (receipt := queue[0].op.receipt) and len(parts) < MAX_TOGETHER:
        room -= len(receipt) + 3
        if room < 0:
            break
        parts.append(queue.popleft())
    return Together(parts) if len(parts) > 1 else first


def _settle_each(parts: list[Pending], lost: frozenset[str] | None, error: FanmailError | None) -> None:
    for each in parts:
        found = error
        if lost and each.op.receipt in lost:
            found = LeaseLost("the message was not acknowledged", "lease-lost", 409)
        each.settle(None, found)


@dataclass(slots=True, eq=False)
class Lane:
    """Operations on one topic, or on one mailbox, which are sent in the order in which they were made.

    After a failure that is retried, nothing is sent before everything under way is answered: what failed comes first.
    """

    key: Hashable
    queue: deque[Pending] = field(default_factory=deque)
    """Not sent."""
    again: list[Pending] = field(default_factory=list)
    """Sent, and to be sent again."""
    under_way: int = 0
    """The number that was sent and is not answered."""
    held_until: float = 0.0
    failures: int = 0
    """Consecutive times that something had to be retried."""
    is_ready: bool = False
    """Whether it is in the queue of those that have something to send."""

    def begin_again(self) -> None:
        """Put what failed back in front, in its order."""
        self.again.sort(key=lambda each: each.number, reverse=True)
        self.queue.extendleft(self.again)
        self.again.clear()

    @property
    def is_empty(self) -> bool:
        return not (self.queue or self.again or self.under_way)
