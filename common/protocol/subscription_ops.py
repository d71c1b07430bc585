"""Arguments and results of the operations on a subscription; the table is `common/protocol/ops.py`."""

from __future__ import annotations

from msgspec import Struct

from common.protocol.lease_ops import Amount


class Settings(Struct, array_like=True):
    """Settings of a subscription; None leaves a setting unchanged."""

    expires_after: Amount | None = None
    """Microseconds without a request after which the subscription ends; 0: never."""
    max_deliveries: Amount | None = None
    """How often a message is delivered under a lease before it becomes a dead letter; 0: unlimited."""


class Subscribed(Struct, array_like=True):
    """`created` is false if the subscription existed."""

    created: bool


class Status(Struct, array_like=True):
    """The status of a subscription. `seq` is that of the next message, 0 if none waits."""

    pending: int
    epoch: str
    seq: int
    leased: int = 0
    dead: int = 0
