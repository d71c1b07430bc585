"""An operation from when it is made until its result is known, and the lanes in which operations keep their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from fanmail.errors import FanmailError
from fanmail.session.ops import Op

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
