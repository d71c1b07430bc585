"""What the operator asks of brokers, and what comes back; the table is `common/protocol/ops.py`.

A broker looks at no more than so many entries in one turn of its loop, whoever asks: an answer may be shorter than what
was asked for, even empty, and `done` says whether there is more behind `last`.
"""

from __future__ import annotations

from msgspec import Struct

from common.protocol.lease_ops import Amount


class ListTopics(Struct, array_like=True):
    """Topics whose names begin with `prefix`, in the order of their bytes, behind `after`."""

    prefix: bytes
    after: bytes
    max: int
    """Topics that are looked at, at least 1."""
    oldest: int = 0
    """Of those that were looked at only so many, those with the oldest messages; 0: all."""


class TopicRow(Struct, array_like=True):
    """A topic as it stands."""

    name: bytes
    epoch: str
    messages: int
    size: int
    """Content bytes of the messages."""
    subscriptions: int
    oldest: int
    """Milliseconds since its oldest message was published; 0 without any."""


class TopicPage(Struct, array_like=True):
    """Some topics; `last` is the name that was looked at last."""

    rows: list[TopicRow]
    last: bytes
    done: bool


class DescribeTopic(Struct, array_like=True):
    """One topic, and of the users behind `after` those who hold its oldest message."""

    after: bytes
    max: int
    """Users who are named, at least 1."""


class TopicSettings(Struct, array_like=True):
    """Settings of one topic by the operator; None: as the configuration says."""

    max_messages: Amount | None = None
    max_bytes: Amount | None = None
    max_age: Amount | None = None
    """Milliseconds; 0: messages do not get too old."""
    drop_oldest: bool | None = None


class TopicInfo(Struct, array_like=True):
    """A topic in full."""

    row: TopicRow
    next_seq: int
    head_seq: int
    effective: TopicSettings
    """What holds."""
    own: TopicSettings
    """What of it was set for this topic alone."""
    holders: list[bytes]
    """Some of those who have not read the oldest message, where there is one."""
    last: bytes
    done: bool


class ChangeTopic(Struct, array_like=True):
    """Sets those of the settings that `names` has, and leaves the others."""

    names: list[str]
    values: TopicSettings


class EndTopic(Struct, array_like=True):
    """Ends subscriptions, at most so many."""

    max: int


class Ended(Struct, array_like=True):
    """So many were ended, and so many are left; with none the topic is gone."""

    count: int
    left: int


class ListUsers(Struct, array_like=True):
    """Subscriptions of a topic in the order of their users' bytes, behind `after`."""

    after: bytes
    max: int


class UserRow(Struct, array_like=True):
    """A subscription as it stands."""

    user: bytes
    pending: int
    """Messages that may be handed out."""
    leased: int
    dead: int
    next_seq: int
    """The first message of the log that is not done."""
    oldest: int
    """Milliseconds since that one was published; 0 where it has everything."""
    expires_after: int
    """Microseconds; 0: never."""
    max_deliveries: int


class UserPage(Struct, array_like=True):
    """Some subscriptions; `last` is the user who was looked at last."""

    rows: list[UserRow]
    last: bytes
    done: bool


class Peek(Struct, array_like=True):
    """Messages that a user has not done; takes nothing."""

    max: int
    max_bytes: int
    """Bytes of their bodies, but one always fits."""


class Peeked(Struct, array_like=True):
    """A message as it lies there: `state` is "waiting", "leased" or "returned" (to be handed out again)."""

    seq: int
    time: int
    """Milliseconds since 1970 UTC at publish."""
    attempt: int
    """How many times it was handed out under a lease."""
    state: str
    headers: bytes
    body: bytes


class PeekedAll(Struct, array_like=True):
    """What was found, what was handed out before first."""

    epoch: str
    messages: list[Peeked]


class Pause(Struct, array_like=True):
    """Pause or resume the broker. While paused it refuses publishes and new subscriptions; a restart resumes it."""

    on: bool
