"""A subscription: the place of one user in the log of one topic."""

from __future__ import annotations

from msgspec import Struct


class Subscription(Struct, gc=False):
    """Small on purpose, and not tracked by the garbage collector: a broker holds millions of them."""

    position: int
    """Sequence number of the next message for this user. Persists."""
