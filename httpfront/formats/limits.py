"""What one request may carry."""

from __future__ import annotations

from typing import NamedTuple

MAX_DELIVERIES = 1_000_000
"""Largest value of the setting `max_deliveries` of a subscription."""


class MessageLimits(NamedTuple):
    """Each limit is the largest value that is accepted. Sizes in bytes."""

    body: int
    """Of one message."""
    batch: int
    """Of the body of a batch."""
    batch_messages: int
    fetch: int
    """Messages of one fetch."""
    fetch_bytes: int
    """Of all messages of one fetch; one always fits."""
