"""What the operator asks of delayed publishes, and what comes back; the table is `common/protocol/ops.py`. As in
`common/protocol/admin_ops.py`, an answer may be shorter than what was asked for, and `done` says whether there is more.
"""

from __future__ import annotations

from msgspec import Struct


class ListDelayedTopics(Struct, array_like=True):
    """Topics for which publishes wait, in the order of the bytes of their names, behind `after`."""

    after: bytes
    max: int


class DelayedTopicRow(Struct, array_like=True):
    """One of them."""

    name: bytes
    publishes: int
    size: int
    """Estimated bytes of memory."""


class DelayedTopicPage(Struct, array_like=True):
    """Some topics; `last` is the name that was looked at last."""

    rows: list[DelayedTopicRow]
    last: bytes
    done: bool


class ListDelayed(Struct, array_like=True):
    """The delayed publishes of a topic behind a number, in the order of their numbers."""

    after: int
    max: int
    max_bytes: int = 0
    """Bytes of their bodies; the rest is cut off."""


class DelayedRow(Struct, array_like=True):
    """A publish that waits. Number and due time together name it for ever."""

    number: int
    due: int
    """Milliseconds since 1970 UTC."""
    count: int
    """Messages."""
    size: int
    """Bytes of content."""
    ttl: int
    """Milliseconds from `due` on; 0: without end."""
    headers: bytes
    body: bytes
    """As much of it as was asked for; of a batch, frames."""
    batch: bool = False


class DelayedPage(Struct, array_like=True):
    """Some of them; `last` is the number that was looked at last."""

    rows: list[DelayedRow]
    last: int
    done: bool


class EndDelayed(Struct, array_like=True):
    """The delayed publish of this number and due time will not be published."""

    number: int
    due: int


class ClearDelayed(Struct, array_like=True):
    """None of the topic's delayed publishes will be published; at most `max` are removed at a time."""

    max: int
