"""A packed reply on its way to a peer."""

from __future__ import annotations

from typing import NamedTuple


class Outgoing(NamedTuple):
    """One packed reply, and its body where that is large enough for a frame of its own."""

    packed: bytes
    body: bytes | None = None
    request_id: str = ""
    """For the log, where the reply cannot be delivered."""
