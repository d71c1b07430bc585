"""Arguments and results about delayed publishes; the table is `common/protocol/ops.py`.

As in `common/protocol/admin_ops.py`, an answer may be shorter than requested; `done` tells whether there is more.
"""

from __future__ import annotations

from msgspec import Struct


class ListDelayedTopics(Struct, array_like=True):
    """Topics with delayed publishes whose names are greater than `after`, in byte order."""

    after: bytes
    max: int


class DelayedTopicRow(Struct, array_like=True):
    """A topic with delayed publishes."""

    name: bytes
    publishes: int
    size: int
    """Estimated bytes of memory."""


class DelayedTopicPage(Struct, array_like=True):
    """A page of topics; `last` is the last visited name."""

    rows: list[DelayedTopicRow]
    last: bytes
    done: bool


class ListDelayed(Struct, array_like=True):
    """The delayed publishes of a topic after a number, in order."""

    after: int
    max: int
    max_bytes: int = 0
    """Maximum bytes of bodies; the rest is cut off."""


class DelayedRow(Struct, array_like=True):
    """A delayed publish. Number and due time identify it permanently."""

    number: int
    due_ms: int
    """Milliseconds since 1970 UTC."""
    count: int
    """Messages."""
    size: int
    """Bytes of content."""
    ttl: int
    """Milliseconds from `due_ms`; 0: unlimited."""
    headers: bytes
    body: bytes
    """As much of the body as requested; frames of a batch."""
    batch: bool = False


class DelayedPage(Struct, array_like=True):
    """A page of delayed publishes; `last` is the last visited number."""

    rows: list[DelayedRow]
    last: int
    done: bool


class EndDelayed(Struct, array_like=True):
    """Cancel the delayed publish with this number and due time."""

    number: int
    due_ms: int


class ClearDelayed(Struct, array_like=True):
    """Cancel delayed publishes of a topic, at most `max` at a time."""

    max: int
