"""Every number at which the broker takes another path, in one place. Tests set all of them to 3.

They decide how much is done at once and when memory is cleaned up, never what a client is answered. The exception is
`scan`, which bounds a page of a listing.
"""

from __future__ import annotations

from typing import NamedTuple


class Thresholds(NamedTuple):
    """Of the broker's state and turns. A store has its own."""

    compact: int = 64
    """Freed entries at the front of a log, or subscriptions of a topic at its peak, that are worth a copy."""
    log_block: int = 1024
    """Pieces per block of a log. Pieces within the first block are freed one by one, whole blocks at once."""
    collected: int = 1024
    """Pieces and keys of the garbage that are freed per turn."""
    few: int = 1000
    """Names that are sorted for each listing; above that they have an index."""
    slack: int = 64
    """Stale entries of a heap that are not worth a clean-up."""
    stale_bodies: int = 1024
    """Stale entries of the queue of bodies in memory, likewise."""
    scan: int = 1000
    """Entries that the operator's listings may scan per turn, so that they delay no request."""
    due: int = 256
    """Items of each kind of scheduled work per turn, so that much that is due at once delays no request."""
    due_messages: int = 2048
    """Leases and delays that end per turn, of all users together."""
    due_dead: int = 64
    """Of those, messages of one user that may become dead letters: their contents are copied."""
    due_bytes: int = 32 * 1024 * 1024
    """Content of delayed publishes, and of dead letters, that is stored per turn."""
    due_heads: int = 1024
    """Pieces that are dropped per turn because they are too old, of all logs together."""
    wakes: int = 256
    """Waiters answered per turn, so that a popular topic does not delay the others."""
    part_bytes: int = 1024 * 1024
    """Bytes of records after which a part of a slot that moves ends. It has at least one record, however large."""
    part_records: int = 2048
    """The same of records, so that neither broker is busy with a part for long."""
    copied_bytes: int = 256 * 1024
    """The same of content, of a part that is sent while the slot is in use, so that no request waits long behind it.
    A slot is frozen when no more than this is left.
    """
    copied_records: int = 256
    """The same of pieces and, of what is left, of messages."""
    spilled_bytes: int = 16 * 1024 * 1024
    """Bytes of replies after which some are sent before the rest is made."""


DEFAULT = Thresholds()
