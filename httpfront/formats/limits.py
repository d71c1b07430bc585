"""What one request may carry in or out."""

from __future__ import annotations

from typing import NamedTuple

MAX_DELIVERIES = 1_000_000
"""Of a subscription's setting `max_deliveries`."""


class MessageLimits(NamedTuple):
    """Ceilings, each the largest that is accepted. Sizes in bytes."""

    body: int
    """Of one message."""
    batch: int
    """Of the body of a batch."""
    batch_messages: int
    fetch: int
    """Messages of one fetch."""
    fetch_bytes: int
    """Of the messages of one fetch, but one always fits."""
