"""Requests, answers and what a flow asks for, as values. Nothing in here reads, sends, sleeps or looks at a clock.

A *flow* is a generator that yields effects and is sent what came of them: the one way in which the protocol's logic
talks to the world, so that the sync and the asyncio client (and the tests, with a clock of their own) share all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from fanmail.message import Message

T = TypeVar("T")
U = TypeVar("U")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What goes to any of the base URLs."""

    method: str
    target: str
    """Path and query, percent-encoded, from the slash on."""
    headers: Headers = ()
    """Values go as UTF-8."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Lost:
    """No whole answer."""

    sent: bool
    """Whether the server may have got the request. False: it certainly was not executed."""
    reason: str


Outcome = Response | Lost


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of the HTTP API."""

    request: Request
    read: Callable[[Response], T]
    """What a 2xx answer says."""
    repeatable: bool = True
    """Whether it may be sent again when nobody knows if it was executed."""
    wants_key: bool = False
    """An idempotency key is made for it, which makes it repeatable."""
    gone_is_done: bool = False
    """404 to a repeat means that an earlier try was executed."""
    patience: float = 0.0
    """Seconds that the answer may take beyond the usual, for long polls."""

    def then(self, change: Callable[[T], U]) -> Call[U]:
        """The same call, its result changed."""
        read = self.read
        return Call(
            self.request,
            lambda response: change(read(response)),
            self.repeatable,
            self.wants_key,
            self.gone_is_done,
            self.patience,
        )


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: send this; it is answered with an `Outcome`."""

    base: str
    """One of the base URLs, without a slash at its end."""
    request: Request
    timeout: float
    """Seconds until there must be an answer."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect: wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Effect: hand this to who iterates; it is answered when the next one is asked for."""

    item: Any


@dataclass(frozen=True, slots=True)
class Handle:
    """Effect: run the handler on a leased message, extending the lease meanwhile; answered with what it raised."""

    message: Message


Effect = Send | Pause | Emit | Handle
Flow = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class World:
    """Where flows get time and chance from."""

    clock: Callable[[], float]
    """Seconds of a monotonic clock."""
    chance: Callable[[], float]
    """From 0 to 1, evenly."""
    new_key: Callable[[], str]
    """A text that was never given before."""
