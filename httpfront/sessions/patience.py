"""How long a read that cannot ask its broker tries again."""

from __future__ import annotations

import random

PATIENCE_S = 30.0
"""Time without its broker after which a read ends."""
BUSY = ("broker-busy", "front-busy", "expired", "answer-too-large", "too-many-leases")
"""Errors after which it asks again; after others it is opened anew at the broker."""
_FIRST_S, _LONGEST_S = 0.2, 5.0
"""Pauses between two tries, on average."""


class Patience:
    """Of one read."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = 0.0
        """When the broker could not be asked for the first time, monotonic seconds; 0: it could, the last time."""

    def restore(self) -> None:
        """Note that the broker has answered."""
        self._since = 0.0

    def pause(self, now: float) -> float | None:
        """Return the seconds until the next try, as the broker cannot be asked now; None: it was tried long enough."""
        self._since = self._since or now
        tried_s = now - self._since
        if tried_s > PATIENCE_S:
            return None
        return min(_LONGEST_S, _FIRST_S + tried_s / 2) * random.uniform(0.5, 1.5)
