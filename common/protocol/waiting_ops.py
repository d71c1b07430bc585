"""Arguments and results about waiting for messages; the table is `common/protocol/ops.py`."""

from __future__ import annotations

from msgspec import Struct

from common.protocol.lease_ops import Amount


class Wait(Struct, array_like=True):
    """Wait until the deadline of the request. `ticket` keeps the place in the queue of an earlier wait; 0: none.

    With `place` it is the wait of a stream, which is answered as soon as there is a message at or after its place; the
    ticket is then without meaning.
    """

    ticket: int = 0
    place: Amount = 0
    """Sequence number of the next message of the stream; 0: this is no stream."""
    epoch: str = ""
    """Of the topic that the stream reads."""
    stream: Amount = 0
    """Number of the stream (`StreamOpened`)."""


class Cancel(Struct, array_like=True):
    """End the WAIT with this request id, of the same front: its client has disconnected."""

    id: int
    """0: there is none now."""
    stream: Amount = 0
    """Number of the stream that ends with it; 0: none."""


class WaitResult(Struct, array_like=True):
    """`now`: there may be a message to take. Otherwise the time is up, or the wait was ended."""

    now: bool
    ticket: int
