"""How much one session may have under way: much while nobody else is served, little otherwise.

What a broker, and a turn of this front, have of one session is what all others wait for. It cannot always be little:
fewer publishes travel together then. With 32 operations under way one takes 1.5 times the processor time that it takes
with 256, with 16 it takes 2.5 times (measured). Others wait as long beside 32 as beside 16.
"""

from __future__ import annotations

from typing import NamedTuple

RECENT_TICKS = 10
"""Ticks after which clients that have asked for nothing more do not count."""


class Share(NamedTuple):
    """Of one session."""

    operations: int
    """That are under way, before nothing more is read from the client."""
    fetches: int
    """Reads that ask their brokers for messages at a time."""
    fetch_bytes: int
    """Of content that each of them asks for."""


class Shares:
    """Of the sessions of a front. Belongs to the hub's thread."""

    def __init__(self, alone: Share, beside: Share) -> None:
        """Set the share of a session that is alone, and of one that is not."""
        self._alone, self._beside = alone, beside
        self.now = alone
        """What one session may have under way now."""
        self._last: object = None
        """The session that began last."""
        self._busy = self._calls = 0
        """Sessions that have something under way; calls of HTTP requests up to the last tick."""
        self._ticks = 0
        """How many have passed since two clients were active."""

    def began(self, session: object) -> None:
        """Note that a session, which had nothing under way, has something."""
        if self._busy or (session is not self._last and self._last is not None):
            self._not_alone()
        self._busy += 1
        self._last = session

    def ended(self) -> None:
        """Note that a session has nothing under way any more."""
        self._busy -= 1

    def forget(self, session: object) -> None:
        """Keep no session that has ended."""
        if session is self._last:
            self._last = None

    def tick(self, calls: int) -> None:
        """Compare the calls of HTTP requests so far with those at the last tick; called several times per second."""
        if calls != self._calls:
            self._calls = calls
            self._not_alone()
        elif self._ticks < RECENT_TICKS:
            self._ticks += 1
        else:
            self.now = self._alone

    def _not_alone(self) -> None:
        self._ticks, self.now = 0, self._beside
