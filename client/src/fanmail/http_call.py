"""HTTP requests and responses as values, and `Call`: one call of the HTTP API, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request, independent of the base URL that it is sent to."""

    method: str
    target: str
    """Percent-encoded path and query, beginning with a slash."""
    headers: Headers = ()
    """Values are sent as UTF-8."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NoResponse:
    """The reason why there is no complete response."""

    sent: bool
    """Whether the server may have received the request. If false, the request was certainly not executed."""
    reason: str


Outcome = Response | NoResponse


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of the HTTP API."""

    request: Request
    parse: Callable[[Response], T]
    """Return the result that a 2xx response carries."""
    repeatable: bool = True
    """Whether the request may be sent again when its outcome is unknown."""
    wants_key: bool = False
    """Whether to add an idempotency key, which makes the call repeatable."""
    gone_is_done: bool = False
    """Whether 404 in response to a repeat means that an earlier try was executed."""
    extra_timeout_s: float = 0.0
    """How much longer than usual the response may take, for long polls."""
    streams: bool = False
    """Whether a 200 is read line by line after `parse`, which sees its headers only."""

    def then(self, change: Callable[[T], U]) -> Call[U]:
        """Return the same call with its result passed through `change`."""
        parse = self.parse
        # `replace` cannot express that the type of the result changes.
        return cast(Call[U], replace(cast(Any, self), parse=lambda response: change(parse(response))))
