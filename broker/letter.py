"""A message that a subscription keeps for itself, apart from the log: a dead letter, or one that was put back."""

from __future__ import annotations

from msgspec import Struct

from common.clock import Now

LETTER_COST = 320
"""Bytes of memory of a letter beside its content."""


class Letter(Struct, gc=False):
    """Persists."""

    seq: int
    time: int
    """Milliseconds of the broker's time at publish."""
    attempt: int
    """How many times it had been handed out when it died."""
    headers: bytes
    body: bytes
    expires: int
    """Milliseconds of the broker's time after which it is not handed out; 0: never."""

    def has_expired(self, now: Now) -> bool:
        """Whether it may not be handed out any more."""
        return 0 < self.expires <= now.time

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body)
