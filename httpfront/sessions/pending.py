"""An operation of a client that waits for its broker."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.gateway.call import Answer

log = logging.getLogger("fanmail.front")


class Answered(Protocol):
    """Who takes the answer of an operation."""

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""


class Pending(Struct, eq=False):
    """Stands in for the greenlet of a call: `Hub.resume` switches to it."""

    taker: Answered
    op: Op
    ref: Any
    """Of the client; None: it wants no answer."""
    size: int
    """Bytes of the client's message."""
    about: Any = None
    """What the answer is for; known to the taker."""

    def switch(self, answer: Answer) -> None:
        """Give the answer to the taker. Its failure is logged, and ends the session."""
        try:
            self.taker.answered(self, answer)
        except Exception:
            log.exception("a session failed")
            with suppress(Exception):
                self.taker.failed(FanmailError("internal", "this session failed"))
