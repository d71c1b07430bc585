"""A request to a broker in flight, and its outcome."""

from __future__ import annotations

from typing import Any, Protocol

import greenlet
from msgspec import Struct, field

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op


class Waiting(Protocol):
    """What is resumed with the answer: a greenlet, or a place in a `Gather`."""

    def switch(self, answer: Answer) -> object: ...


class Call(Struct, eq=False):
    """One request in flight, and the greenlet that waits for its answer. A call that `waits` can be ended early.

    One that `lasts` has no time of its own: it is that of a stream.
    """

    id: int
    packed: bytes
    body: bytes | None
    expires: float
    """Monotonic seconds, after which the outcome is unknown."""
    incarnation: int = 0
    """The broker process that it is meant for."""
    room: int = 0
    """Bytes that its answer may have."""
    waiting: Waiting = field(default_factory=greenlet.getcurrent)
    waits: bool = False
    lasts: bool = False


ROOMY = frozenset((Op.TAKE, Op.FETCH, Op.DEAD_LIST, Op.PEEK))
"""Operations whose answers have content."""


def answer_room(args: Any) -> int:
    """Return the bytes of content that the answer may have; 0 where it is never large, or not bounded."""
    kind = type(args)
    if kind is ops.Take:
        return int(args.room)
    if kind is ops.Fetch:
        return int(max(args.room, args.max_bytes))
    return int(args.max_bytes) if kind is ops.ListDead or kind is ops.Peek else 0


class Answer(Struct, eq=False):
    """The outcome of a call: a result still packed, or an error."""

    error: FanmailError | None
    result: Any = None
    body: bytes | None = None
