"""What a broker needs of its connections to other brokers; the sockets are in `broker/server/links.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op


@dataclass(slots=True, eq=False)
class Question:
    """A request to another broker."""

    done: bool = False
    result: Any = None
    """Of the operation."""
    error: FanmailError | None = None
    """What the other broker has answered instead; `outcome-unknown` where no answer came."""

    @property
    def lost(self) -> bool:
        """Return whether nobody knows if the other broker has executed it."""
        return self.error is not None and self.error.code == "outcome-unknown"


class Link(Protocol):
    """The connection to one other broker: to the one of its candidates that is ready."""

    @property
    def up(self) -> bool:
        """Return whether it answers and has said that it is the right one; a broker that is loading is not up."""
        ...

    @property
    def answers(self) -> bool:
        """Return whether it answers, in whatever state."""
        ...

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        """Send a request; it is done at once with `broker-down` where it cannot be sent. Never waits."""
        ...


class Links(Protocol):
    """All connections to other brokers. They exist while they are asked for."""

    def to(self, broker: str) -> Link | None:
        """Return the connection to a broker of the description, None for one that is not in it."""
        ...
