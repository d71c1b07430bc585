"""The body of one request, for an application that may have started when only the head had arrived."""

from __future__ import annotations

from typing import Protocol

from greenlet import getcurrent
from waitress.utilities import Error

from common.errors import FanmailError
from httpfront.budget import Account, front_busy
from httpfront.hub import Hub
from httpfront.server.parser import RequestParser

COPIES = 2
"""Copies of a body on its way to a broker: ours, and ZeroMQ's until the broker has taken it."""
_EVICTED = "the memory for this body was needed for other requests"


class BodyRefused(BaseException):
    """Ends the application: the body will not arrive. `refusal` is the answer; None where the client is gone.

    Not an `Exception`, so that nothing but the connection catches it.
    """

    def __init__(self, refusal: Error | None) -> None:
        super().__init__()
        self.refusal = refusal


Fault = BodyRefused | FanmailError
"""Why there is no body; the connection answers the former, the application the latter."""


class BodySource(Protocol):
    """What a body needs of its connection."""

    account: Account

    @property
    def hub(self) -> Hub: ...

    def wants_body(self) -> bool:
        """Start to read the rest of the body; False where the client has gone."""


class BodyStream:
    """`wsgi.input` of a request. Until it is read, its connection can be evicted: then it is `front-busy`."""

    def __init__(self, connection: BodySource, parser: RequestParser) -> None:
        """Count what has arrived of the body."""
        self._connection = connection
        self._parser = parser
        self._body = parser.body
        self._parked: object = None
        """The greenlet that waits for the body."""
        self._fault: Fault | None = None
        self._count()
        if self._fault is None:
            connection.account.progress()

    def read(self, size: int = -1) -> bytes:
        """Return the whole body, whatever `size`; parks until it has arrived.

        Raises `BodyRefused`, and `front-busy` where there is no room for it.
        """
        if self._fault is None and not self._parser.completed:
            if self._connection.wants_body():
                self._connection.account.progress()
                self._parked = getcurrent()
                self._fault = self._connection.hub.park()
            else:
                self._fault = BodyRefused(None)
        self._connection.account.stop_waiting()
        if self._fault is not None:
            raise self._fault
        return self._body.take()

    def received(self, data: bytes) -> bytes | None:
        """Take more of the body; return what is behind it, None where more is to come."""
        parser = self._parser
        rest = data[parser.received(data) :]
        self._connection.account.progress()
        if parser.error is not None:
            self._fault = BodyRefused(parser.error)
        else:
            self._count()
        return rest if parser.completed or self._fault is not None else None

    def resume(self, fault: Fault | None = None) -> None:
        """Resume the application with its body or a fault. From the hub only."""
        parked, self._parked = self._parked, None
        self._connection.hub.resume(parked, fault or self._fault)

    def abandon(self, fault: Fault) -> None:
        """Drop the body; reading it raises `fault`. From any greenlet."""
        self._fault = self._fault or fault
        self._body.drop()
        if self._parked is not None:
            parked, self._parked = self._parked, None
            self._connection.hub.resume_later(parked, self._fault)

    def close(self) -> None:
        """Forget the fault, whose traceback knows this stream."""
        self._fault = None

    def _count(self) -> None:
        """Count the body; a complete one `COPIES` times."""
        body = self._body
        held = body.held
        try:
            self._connection.account.grow(held * COPIES if body.completed else held)
        except FanmailError as busy:
            body.drop()
            self._connection.account.hold(0)
            self._fault = busy


def evicted_error() -> FanmailError:
    """Return the error for a body that was dropped to make room for others."""
    return front_busy(_EVICTED)
