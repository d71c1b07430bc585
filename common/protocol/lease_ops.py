"""Arguments and results about leased messages and dead letters; the table is `common/protocol/ops.py`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Amount = Annotated[int, Meta(ge=0, le=2**60)]
"""A duration or a number of things. Added to any clock it fits 64 bits; other values are refused."""


class Receipt(Struct, array_like=True):
    """One delivery of one message: its id, and the number of the attempt."""

    epoch: str
    seq: int
    attempt: int


class Finish(Struct, array_like=True):
    """Acknowledge the messages of these receipts."""

    receipts: list[Receipt]


class Finished(Struct, array_like=True):
    """For each receipt in order: "" if the message is acknowledged, now or before, else the code of an error."""

    codes: list[str]


class Extend(Struct, array_like=True):
    """Extend a lease to `lease` microseconds from now.

    With `lease` 0 it ends now, and the message is redelivered after `delay` microseconds.
    """

    receipt: Receipt
    lease: Amount
    delay: Amount = 0


class ListDead(Struct, array_like=True):
    """The dead letters after a sequence number, in order."""

    after: int
    max: int
    """Maximum number of letters, at least 1."""
    max_bytes: int
    """Maximum bytes of bodies; a single letter may exceed it."""


class DeadLetter(Struct, array_like=True):
    """A message whose deliveries were exhausted."""

    seq: int
    time: int
    """Milliseconds since 1970 UTC at publish."""
    attempt: int
    """How often it was delivered."""
    headers: bytes
    body: bytes
    expired: bool = False
    """Its ttl is over: it cannot be put back."""


class DeadLetters(Struct, array_like=True):
    """Dead letters; `left` more come after these."""

    epoch: str
    left: int
    letters: list[DeadLetter]


class Counted(Struct, array_like=True):
    """The number of affected entries."""

    count: int
