"""What is asked of leased messages and dead letters, and what comes back; the table is `common/protocol/ops.py`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Amount = Annotated[int, Meta(ge=0, le=2**60)]
"""A span of time or a number of things: added to any clock it still fits 64 bits. Another one is refused."""


class Receipt(Struct, array_like=True):
    """One handing out of one message: its id, and which one it was."""

    epoch: str
    seq: int
    attempt: int


class Finish(Struct, array_like=True):
    """The messages that these receipts were given with are done."""

    receipts: list[Receipt]


class Finished(Struct, array_like=True):
    """For each receipt in order: "" where the message is done now or was already, else the code of an error."""

    codes: list[str]


class Extend(Struct, array_like=True):
    """A lease lasts until so many microseconds from now; with `lease` 0 it ends now, and the message is handed out
    again after `delay` microseconds.
    """

    receipt: Receipt
    lease: Amount
    delay: Amount = 0


class ListDead(Struct, array_like=True):
    """The dead letters behind a sequence number, in the order of their numbers."""

    after: int
    max: int
    """Letters, at least 1."""
    max_bytes: int
    """Bytes of their bodies, but one always fits."""


class DeadLetter(Struct, array_like=True):
    """A message that was handed out too often."""

    seq: int
    time: int
    """Milliseconds since 1970 UTC at publish."""
    attempt: int
    """How many times it was handed out."""
    headers: bytes
    body: bytes
    expired: bool = False
    """Its ttl is over: it is not put back."""


class DeadLetters(Struct, array_like=True):
    """`left` more are behind these."""

    epoch: str
    left: int
    letters: list[DeadLetter]


class Counted(Struct, array_like=True):
    """How many it was done to."""

    count: int
