"""Where a session comes from."""

from __future__ import annotations

from dataclasses import dataclass

from httpfront.sessions import operations as wanted
from httpfront.sessions.access import Access


@dataclass(frozen=True, slots=True)
class Origin:
    """The handshake of one session."""

    request_id: str
    access: Access | None
    """What the key of the client may do; None: no key is needed."""
    first: wanted.Read | None
    """What it reads from the start on."""
