"""Flows: the client's logic as generators, without I/O.

A *flow* yields effects and is sent their results. Nothing in here reads, sends, sleeps or looks at a clock, so the
sync client, the asyncio client and the tests (which have a clock of their own) share all logic.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from fanmail.http_call import Request
from fanmail.message import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: send a request. The result is an `Outcome`."""

    base: str
    """One of the base URLs, without a trailing slash."""
    request: Request
    timeout_s: float
    """How long to wait for the response, and for each part of it."""
    streams: bool = False
    """Whether a 200 is read line by line, with `ReadLine`: the result then has no body."""


@dataclass(frozen=True, slots=True)
class ReadLine:
    """Effect: read the next line of the response that streams.

    The result is the line without its end, or the `NoResponse` that ended the stream. An incomplete line is lost.
    """


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect: wait. There is no result."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Effect: yield an item to the caller's loop. The flow is resumed, without a result, for the next item."""

    item: Any


@dataclass(frozen=True, slots=True)
class Handle:
    """Effect: call the handler with a leased message and extend the lease meanwhile.

    The result is the exception that the handler raised, or None.
    """

    message: Message


Effect = Send | ReadLine | Pause | Emit | Handle
Flow = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class Environment:
    """The sources of time and randomness for flows."""

    clock: Callable[[], float]
    """Return seconds of a monotonic clock."""
    random: Callable[[], float]
    """Return a uniformly distributed number from 0 to 1."""
    new_key: Callable[[], str]
    """Return a unique idempotency key."""
