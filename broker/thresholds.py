"""Every number at which the broker takes another path, in one place. Tests set all of them to 3.

None of them changes what a client is answered (but `scan`: how much a page of a listing has), only how much is done at
once, or when it is tidied up.
"""

from __future__ import annotations

from typing import NamedTuple


class Thresholds(NamedTuple):
    """Of the broker's core. A store has its own."""

    compact: int = 64
    """Freed places at the front of a log, or subscriptions of a topic at its peak, that are worth a copy."""
    log_block: int = 1024
    """Pieces in one block of a log: what is dropped within one is freed one by one, and at once."""
    collected: int = 1024
    """Pieces and keys that are gone and are taken apart in one turn."""
    few: int = 1000
    """Names that are sorted when they are listed; more have an index."""
    block: int = 1024
    """Names in one block of an index."""
    slack: int = 64
    """Stale entries of a heap that are not worth a clean-up."""
    stale_bodies: int = 1024
    """The same of the queue of bodies in memory."""
    scan: int = 1000
    """Entries that the operator's listings look at in one turn of the loop, so that nobody waits for them."""
    due: int = 256
    """Of each kind of due work in one turn, so that much that is due at once does not hold up requests."""
    due_messages: int = 2048
    """Leases and delays that end in one turn, of all users together."""
    due_bytes: int = 32 * 1024 * 1024
    """Content of the delayed publishes that enter the logs in one turn."""
    due_heads: int = 1024
    """Pieces that are dropped in one turn because they are too old, of all logs together."""
    wakes: int = 256
    """Waiters answered in one turn, so that a popular topic does not hold up the others."""
    spilled_bytes: int = 16 * 1024 * 1024
    """Replies that are made before some of them are sent."""


DEFAULT = Thresholds()
