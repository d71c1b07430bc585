"""Long polls: a GET that waits. Waiting takes no message; a TAKE does, when the broker says "look"."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import falcon
from msgspec import Struct

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from common.shares import room
from httpfront.environ import ON_DISCONNECT, unwatched
from httpfront.formats.header_lists import elements, is_too_long, parameters
from httpfront.formats.params import duration
from httpfront.gateway.gateway import Gateway
from httpfront.gateway.reservation import reserve_and_call


class ReadCall(Struct):
    """The operation that reads, and its arguments."""

    op: Op
    args: Struct
    usual: int = 0
    """Bytes of one message are usually at most this."""


class LongPoll:
    """The long polls of one front."""

    def __init__(self, gateway: Gateway, max_wait: float, max_waiters: int, share: int = 100) -> None:
        """Set the longest wait in seconds, and how many may wait.

        Beyond `max_waiters`, requests are answered at once, and so are those that one user of a topic has beyond
        `share` percent of the places that others leave.
        """
        self._gateway = gateway
        self.max_wait = max_wait
        self._max_waiters = max_waiters
        self._share = share
        self._by_user: Counter[tuple[bytes, bytes]] = Counter()
        """Waiting requests by topic and user."""
        self.waiting = 0
        """Requests that wait now."""

    def preferred(self, req: falcon.Request) -> float | None:
        """Return the seconds of `Prefer: wait=20` (RFC 7240); None where it is absent or malformed."""
        given = req.env.get("HTTP_PREFER")
        return self._waiting_time(given) if given and not is_too_long(given) else None

    def _waiting_time(self, preferences: str) -> float | None:
        firsts = (parameters(each)[0] for each in elements(preferences))
        wait = next((value for name, value in firsts if name == "wait"), "")
        try:
            return duration(self.max_wait)(wait)
        except ValueError:
            return None

    def poll(
        self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes, ask: ReadCall, wait: float
    ) -> Any:
        """Return what arrives within `wait` seconds, or None. Raises as a TAKE, and `client-gone`."""
        who = (topic, user)
        if not room(self._max_waiters, self.waiting, self._by_user[who], self._share):
            resp.set_header("Retry-After", "1")
            return None
        resp.set_header("Preference-Applied", preference_applied(wait))
        self.waiting += 1
        self._by_user[who] += 1
        try:
            return self._wait(req, topic, user, ask, time.monotonic() + wait)
        finally:
            self.waiting -= 1
            self._by_user[who] -= 1
            if not self._by_user[who]:
                del self._by_user[who]

    def _wait(self, req: falcon.Request, topic: bytes, user: bytes, ask: ReadCall, until: float) -> Any:
        ticket = 0
        while True:
            look = self._gateway.wait(topic, user, until, ticket, req.env.get(ON_DISCONNECT) or unwatched)
            if not look.now:
                if is_disconnected(req):
                    raise disconnected_error()
                return None
            ticket = look.ticket
            if is_disconnected(req):
                self._gateway.call(Op.SKIP, topic, user, ops.Nothing())
                raise disconnected_error()
            found = reserve_and_call(self._gateway, req.env, ask.op, topic, user, ask.args, ask.usual)
            if found is not None or time.monotonic() >= until:
                return found


def preference_applied(wait: float) -> str:
    """Return the value of Preference-Applied, with at most milliseconds."""
    return f"wait={wait:.3f}".rstrip("0").rstrip(".")


def disconnected_error() -> FanmailError:
    """Return the error for a client that is gone: a message taken for it would be lost."""
    return FanmailError("client-gone", "the client closed the connection; no message was taken")


def is_disconnected(req: falcon.Request) -> bool:
    """Return whether the client has sent its last byte."""
    disconnected = req.env.get("waitress.client_disconnected")
    return disconnected is not None and disconnected()
