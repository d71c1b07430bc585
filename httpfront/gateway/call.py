"""A request to a broker in flight, and its outcome."""

from __future__ import annotations

from typing import Any, Protocol

import greenlet

from common.errors import FanmailError
from common.protocol import ops


class Waiting(Protocol):
    """What is resumed with the answer: a greenlet, or a place in a `Gather`."""

    def switch(self, answer: Answer) -> object: ...


class Call:
    """One request in flight, and the greenlet that waits for its answer. A call that `waits` can be ended early.

    One that `lasts` has no time of its own: it is that of a stream.
    """

    __slots__ = ("body", "expires", "id", "incarnation", "lasts", "packed", "room", "waiting", "waits")

    def __init__(
        self, call_id: int, packed: bytes, body: bytes | None, expires: float, incarnation: int = 0, room: int = 0
    ) -> None:
        self.id = call_id
        self.packed = packed
        self.body = body
        self.incarnation = incarnation
        """The broker process that it is meant for."""
        self.room = room
        """Bytes that its answer may have."""
        self.expires = expires
        """Monotonic seconds, after which the outcome is unknown."""
        self.waiting: Waiting = greenlet.getcurrent()
        self.waits = self.lasts = False


def answer_room(args: Any) -> int:
    """Return the bytes of content that the answer may have; 0 where it is never large, or not bounded."""
    kind = type(args)
    if kind is ops.Take:
        return int(args.room)
    if kind is ops.Fetch:
        return int(max(args.room, args.max_bytes))
    return int(args.max_bytes) if kind is ops.ListDead or kind is ops.Peek else 0


class Answer:
    """The outcome of a call: a result still packed, or an error."""

    __slots__ = ("body", "error", "result")

    def __init__(self, error: FanmailError | None, result: Any = None, body: bytes | None = None) -> None:
        self.error = error
        self.result = result
        self.body = body
