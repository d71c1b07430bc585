"""Arguments and results of the operator's requests; the table is `common/protocol/ops.py`.

A broker visits a limited number of entries per turn of its loop, for all requests together. An answer may therefore be
shorter than requested, even empty; `done` tells whether there is more after `last`.
"""

from __future__ import annotations

from msgspec import Struct

from common.protocol.lease_ops import Amount


class ListTopics(Struct, array_like=True):
    """Topics whose names begin with `prefix` and are greater than `after`, in byte order."""

    prefix: bytes
    after: bytes
    max: int
    """Topics to visit, at least 1."""
    oldest: int = 0
    """How many of the visited topics to return, those with the oldest messages; 0: all."""


class TopicRow(Struct, array_like=True):
    """The status of a topic."""

    name: bytes
    epoch: str
    messages: int
    size: int
    """Bytes of content of the messages."""
    subscriptions: int
    oldest: int
    """Milliseconds since the oldest message was published; 0 if there is none."""


class TopicPage(Struct, array_like=True):
    """A page of topics; `last` is the last visited name."""

    rows: list[TopicRow]
    last: bytes
    done: bool


class DescribeTopic(Struct, array_like=True):
    """One topic, and users after `after` who have not read its oldest message."""

    after: bytes
    max: int
    """Maximum number of users to return, at least 1."""


class TopicSettings(Struct, array_like=True):
    """Settings of one topic by the operator; None: the configured value."""

    max_messages: Amount | None = None
    max_bytes: Amount | None = None
    max_age: Amount | None = None
    """Milliseconds; 0: no maximum age."""
    drop_oldest: bool | None = None


class TopicInfo(Struct, array_like=True):
    """All about a topic."""

    row: TopicRow
    next_seq: int
    head_seq: int
    effective: TopicSettings
    """The settings in effect."""
    own: TopicSettings
    """The settings of this topic only."""
    holders: list[bytes]
    """Users who have not read the oldest message."""
    last: bytes
    done: bool


class ChangeTopic(Struct, array_like=True):
    """Set the settings in `names`, and leave the others unchanged."""

    names: list[str]
    values: TopicSettings


class EndTopic(Struct, array_like=True):
    """End at most `max` subscriptions."""

    max: int


class Ended(Struct, array_like=True):
    """How many were ended, and how many are left; with none left the topic has ended."""

    count: int
    left: int


class ListUsers(Struct, array_like=True):
    """Subscriptions of a topic whose users are greater than `after`, in byte order."""

    after: bytes
    max: int


class UserRow(Struct, array_like=True):
    """The status of a subscription."""

    user: bytes
    pending: int
    """Messages that can be delivered."""
    leased: int
    dead: int
    next_seq: int
    """The first message of the log that is not acknowledged."""
    oldest: int
    """Milliseconds since that message was published; 0 if all are acknowledged."""
    expires_after: int
    """Microseconds; 0: never."""
    max_deliveries: int


class UserPage(Struct, array_like=True):
    """A page of subscriptions; `last` is the last visited user."""

    rows: list[UserRow]
    last: bytes
    done: bool


class Peek(Struct, array_like=True):
    """Show unacknowledged messages of a subscription without taking them."""

    max: int
    max_bytes: int
    """Maximum bytes of bodies; a single message may exceed it."""


class Peeked(Struct, array_like=True):
    """A stored message. `state` is "waiting", "leased" or "returned" (to be redelivered)."""

    seq: int
    time: int
    """Milliseconds since 1970 UTC at publish."""
    attempt: int
    """How often it was delivered under a lease."""
    state: str
    headers: bytes
    body: bytes


class PeekedAll(Struct, array_like=True):
    """The messages found; those that were delivered before come first."""

    epoch: str
    messages: list[Peeked]


class Pause(Struct, array_like=True):
    """Pause or resume the broker. While paused it refuses publishes and new subscriptions; a restart resumes it."""

    on: bool
