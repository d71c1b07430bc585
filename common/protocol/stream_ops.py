"""Arguments and results about streams; the table is `common/protocol/ops.py`.

A stream reads ahead of what is confirmed: its place is carried by WAIT and FETCH, which neither take nor confirm.
"""

from __future__ import annotations

from msgspec import Struct

from common.protocol.lease_ops import Amount


class OpenStream(Struct, array_like=True):
    """Open a stream. With `after` everything up to and including `epoch`-`seq` (0: nothing) is confirmed first."""

    after: bool = False
    epoch: str = ""
    seq: int = 0


class StreamOpened(Struct, array_like=True):
    """`number` is above that of every earlier stream of the mailbox; `position` is the first message not done."""

    number: int
    epoch: str
    position: int


class Confirm(Struct, array_like=True):
    """Confirm everything up to and including `epoch`-`seq` without reading; `seq` 0: nothing.

    `stream` is the number of the stream that was sent the messages, and whose client may not have seen them; 0: the
    client itself confirms.
    """

    epoch: str
    seq: int
    stream: Amount = 0


class Confirmed(Struct, array_like=True):
    """`done` is false where a newer stream has been opened on the mailbox: then nothing was confirmed."""

    done: bool
