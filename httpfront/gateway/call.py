"""A request to a broker in flight, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import greenlet
import msgspec
from msgspec import Struct, field

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import Request

GRACE_S = 0.25
"""Time that an answer may arrive after its deadline: what a broker began in time is worth waiting for."""


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
    slot: int = -1
    """Of its topic, where its order matters: all but a WAIT."""
    overtaken: bool = False
    """Whether later calls of its slot may have been executed: it is not sent again."""

    @property
    def until(self) -> float:
        """Return its deadline, monotonic seconds."""
        return self.expires - GRACE_S


_decode_request = msgspec.msgpack.Decoder(Request).decode
_encode_request = msgspec.msgpack.Encoder().encode


def opened(packed: bytes) -> Request:
    """Return the request of a call, with its arguments still packed."""
    return _decode_request(packed)


def redirected(packed: bytes, deadline: int) -> bytes:
    """Return the same request with another deadline, as it is sent to another process."""
    request = _decode_request(packed)
    request.deadline = deadline
    return _encode_request(request)


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


Refused = Callable[[Call, FanmailError], FanmailError | None]
"""Returns the error that ends a call, None where it is sent again."""


def pass_on(call: Call, error: FanmailError) -> FanmailError:
    """Return the error as it is."""
    return error


class Answer(Struct, eq=False):
    """The outcome of a call: a result still packed, or an error."""

    error: FanmailError | None
    result: Any = None
    body: bytes | None = None
