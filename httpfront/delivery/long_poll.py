"""Long polls: a GET that waits. Waiting never takes; the taking is an ordinary TAKE when the broker says "look"."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, NamedTuple

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
from httpfront.gateway.rooms import call_with_room


class ReadCall(NamedTuple):
    """How the messages are asked for."""

    op: Op
    args: Struct
    usual: int = 0
    """Bytes of one message at the most, as a rule."""


class LongPoll:
    """The long polls of one front."""

    def __init__(self, gateway: Gateway, max_wait: float, max_waiters: int, share: int = 100) -> None:
        """`max_wait` in seconds; more than `max_waiters` at a time are answered at once, and so is what one user of a
        topic has beyond `share` percent of what others leave of them.
        """
        self._gateway = gateway
        self.max_wait = max_wait
        self._max_waiters = max_waiters
        self._share = share
        self._of: Counter[tuple[bytes, bytes]] = Counter()
        """Those of each user who has any."""
        self.waiting = 0
        """Requests that wait just now."""

    def preferred(self, req: falcon.Request) -> float | None:
        """`Prefer: wait=20` (RFC 7240); None where it is not there, or not to be understood."""
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
        """What comes within `wait` seconds, or None. Raises what a TAKE raises, and `client-gone`."""
        who = (topic, user)
        if not room(self._max_waiters, self.waiting, self._of[who], self._share):
            resp.set_header("Retry-After", "1")
            return None
        resp.set_header("Preference-Applied", preference_applied(wait))
        self.waiting += 1
        self._of[who] += 1
        try:
            return self._wait(req, topic, user, ask, time.monotonic() + wait)
        finally:
            self.waiting -= 1
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]

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
                self._gateway.call(Op.PASS, topic, user, ops.Nothing())
                raise disconnected_error()
            found = call_with_room(self._gateway, req.env, ask.op, topic, user, ask.args, ask.usual)
            if found is not None or time.monotonic() >= until:
                return found


def preference_applied(wait: float) -> str:
    """The value of Preference-Applied, at most milliseconds of it."""
    return f"wait={wait:.3f}".rstrip("0").rstrip(".")


def disconnected_error() -> FanmailError:
    """What is taken for nobody would be lost."""
    return FanmailError("client-gone", "the client closed its side of the connection; nothing was taken")


def is_disconnected(req: falcon.Request) -> bool:
    """Whether the client has sent its last byte."""
    disconnected = req.env.get("waitress.client_disconnected")
    return disconnected is not None and disconnected()
