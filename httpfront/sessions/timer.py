"""When a session pings its client, looks at its key, and ends because the front stops."""

from __future__ import annotations

import time
from math import inf
from typing import Protocol

from common.errors import FanmailError
from httpfront.outlet import SessionOutlet
from httpfront.streams.table import TimedEntry
from httpfront.streams.wheel import Wheel

BEAT_S = 15.0
"""Time between two looks at the key."""
PING_S = 20.0
TRY_LATER = 1013
"""Close code: the client may come back."""


class Timed(Protocol):
    """The session."""

    outlet: SessionOutlet
    over: bool

    def timed(self, now: float) -> None:
        """Let every read do what is due."""

    def drain(self) -> None:
        """Close once nothing is under way."""

    def check_key(self) -> None:
        """End where the key is not in force any more, or may not read any more what is read."""

    def finish(self, code: int, reason: str, ended: str) -> None:
        """Close with a code; `ended` is for the log."""

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""


class SessionTimer:
    """An entry of the timing wheel."""

    __slots__ = ("_beat_at", "_end_at", "_ping_at", "_session", "_wake_at", "_wheel", "due", "slot")

    def __init__(self, session: Timed, wheel: Wheel[TimedEntry]) -> None:
        now = time.monotonic()
        self.due, self.slot = inf, -1
        self._session = session
        self._wheel = wheel
        self._beat_at, self._ping_at = now + BEAT_S, now + PING_S
        self._wake_at = self._end_at = inf
        self._schedule()

    def wake_at(self, when: float) -> None:
        """Call `timed` of the session at this time, or before."""
        if when < self._wake_at:
            self._wake_at = when
            self._schedule()

    def end_at(self, when: float) -> None:
        """Drain the session at this time."""
        self._end_at = when
        self._schedule()

    def stop(self) -> None:
        """Do nothing more."""
        self._wheel.drop(self)

    def timed(self, now: float) -> None:
        """Do what is due."""
        session = self._session
        if now >= self._end_at:
            self._end_at = inf
            session.drain()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            session.check_key()
        if not session.over and now >= self._ping_at:
            self._ping_at = now + PING_S
            if not session.outlet.ping():
                session.finish(TRY_LATER, "two pings were not answered", "slow")
        if not session.over:
            self._wake_at = inf
            session.timed(now)
            self._schedule()

    def failed(self, error: FanmailError) -> None:
        """End the session after an unexpected error."""
        self._session.failed(error)

    def _schedule(self) -> None:
        if not self._session.over:
            self._wheel.set(self, min(self._beat_at, self._ping_at, self._wake_at, self._end_at))
