"""What the applications of both ports are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.gateway.gateway import Gateway
from httpfront.middleware.auth import Auth
from httpfront.openapi.description import OpenApiResource
from httpfront.openapi.parameters import Bounds
from httpfront.routes import Routes
from httpfront.sessions.table import SessionTable
from httpfront.streams.table import StreamTable


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class AppParts:
    """Built by the front, shared by its ports."""

    gateway: Gateway
    polls: LongPoll
    streams: StreamTable
    sessions: SessionTable
    limits: MessageLimits
    max_name: int
    """Bytes of a topic's or user's name."""
    draining: Callable[[], bool] = _never
    """Whether this front is stopping."""
    auth: Callable[[Routes], Auth] | None = None
    """Makes the middleware that asks for keys; None: no request needs one."""

    def auth_for(self, routes: Routes) -> Auth | None:
        """Return the middleware for a port with these routes."""
        return self.auth(routes) if self.auth else None

    def description(self) -> OpenApiResource:
        """Return the resource of `/openapi.json`."""
        return OpenApiResource(Bounds(self.limits, self.max_name, self.polls.max_wait), keys=self.auth is not None)
