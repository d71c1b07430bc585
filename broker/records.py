"""The records of all changes: the only input of `State.apply`, and all that a store is given.

They describe state, not history: `load()` of a store yields records in proportion to what is alive. StoreOpened comes
first, then CalendarSet where the clock was ever set. For each topic follow TopicBegan, TopicChanged and its
MessageStored in order; then, for each of its users, SubscriptionSet, SettingsSet, DeadLettered in the order in which
the messages died, DeadReturned for those that were put back, Leased for every held message, and Returned for those that
are not leased. KeyRemembered and PublishDelayed come last, each in order.

Names end with their unit: `_us` is microseconds of the broker's monotonic clock, `_ms` milliseconds of the broker's
time (`Now.time`). `time` and `expires` are milliseconds too. A durable store makes both clocks go on after a restart.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from broker.calendar import Step
from common.clock import Now


class StoreOpened(Struct, gc=False):
    """The identity of a store, written once, and the last topic number that it has assigned."""

    store_id: str
    topics_begun: int
    last_piece: int = 0
    """The greatest number of a piece of which anything is left."""


class CalendarSet(Struct, gc=False):
    """The remembered steps of the calendar, all of them."""

    steps: tuple[Step, ...]


class TopicBegan(Struct, gc=False):
    """A topic's life begins. `number` is never assigned again by this store; the epoch is made from it."""

    topic: bytes
    number: int
    next_seq: int
    """Sequence number of the next message; above 1 in `load()` only."""


class TopicChanged(Struct, gc=False):
    """The operator's settings for one topic, all of them; None: as configured. They end with the topic's life."""

    topic: bytes
    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: int | None = None
    """Milliseconds."""
    drop_oldest: bool | None = None


class TopicEnded(Struct, gc=False):
    """The last subscription has ended: nothing is left of the topic."""

    topic: bytes


class Content(NamedTuple):
    """The content of a piece, as in `Piece`."""

    headers: bytes
    offsets: bytes
    body: bytes


class Payload(Struct, gc=False):
    """What was published: one message, or a batch of `count` messages."""

    headers: bytes
    body: bytes
    count: int = 1
    offsets: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body) + len(self.offsets)


class MessageStored(Struct, gc=False):
    """A message or a batch enters the log of a topic at the topic's next sequence number."""

    topic: bytes
    seq: int
    time: int
    """Milliseconds of the broker's time."""
    payload: Payload
    expires: int = 0
    """Milliseconds of the broker's time at which it expires; 0: never."""
    piece: int = 0
    """Number of the new piece; grows with every piece of a store."""
    stored: int | None = None
    """In `load()` only: bytes of content. The payload then has nothing but the count; the rest is in the store."""


class PieceDamaged(Struct, gc=False):
    """The piece that begins with `seq` cannot be read; it is not delivered any more.

    Not stored: found again after a restart where a reader has not passed it.
    """

    topic: bytes
    seq: int


class SubscriptionSet(Struct, gc=False):
    """A subscription exists; `position` is the sequence number of its next message."""

    topic: bytes
    user: bytes
    position: int


class SubscriptionEnded(Struct, gc=False):
    """A subscription has ended."""

    topic: bytes
    user: bytes


class SettingsSet(Struct, gc=False):
    """The settings of a subscription, all of them."""

    topic: bytes
    user: bytes
    expires_after: int
    """Microseconds without a call; 0: never."""
    max_deliveries: int


class Leased(Struct, gc=False):
    """`count` messages from `first` on are leased; it is their delivery number `attempt`."""

    topic: bytes
    user: bytes
    first: int
    count: int
    attempt: int
    until_us: int
    """Microseconds of the monotonic clock."""


class Returned(Struct, gc=False):
    """Messages that were leased wait for redelivery."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]
    due_us: int
    """Earliest redelivery, microseconds of the monotonic clock; 0: now."""


class Finished(Struct, gc=False):
    """Messages that were held are acknowledged, or will not be redelivered."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadLetter(Struct, gc=False):
    """A message that is kept beside the subscription, not in the log: dead, or put back from the dead-letter list."""

    seq: int
    time: int
    """Milliseconds of the broker's time at publish."""
    attempt: int
    """Number of deliveries when it died."""
    headers: bytes
    body: bytes
    expires: int
    """Milliseconds of the broker's time at which it expires; 0: never."""

    def has_expired(self, now: Now) -> bool:
        """Return whether it must not be delivered any more."""
        return 0 < self.expires <= now.time

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body)


class DeadLettered(Struct, gc=False):
    """A message moves to the user's dead-letter list and is not held any more."""

    topic: bytes
    user: bytes
    letter: DeadLetter


class DeadEnded(Struct, gc=False):
    """Dead letters are deleted."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadReturned(Struct, gc=False):
    """Dead letters wait for redelivery. Attempts go on; deliveries are counted from 0."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class HeadMoved(Struct, gc=False):
    """The topic drops all messages below `head`, wanted or not.

    `head` is the first message of a piece, or the next one.
    """

    topic: bytes
    head: int


class PublishDelayed(Struct, gc=False):
    """A publish is delayed. `number` grows and is not assigned again while any publish is delayed."""

    number: int
    topic: bytes
    due_ms: int
    """Milliseconds of the broker's time at which it is published."""
    payload: Payload
    ttl: int
    """Milliseconds until it expires, counted from then; 0: never."""


class DelayEnded(Struct, gc=False):
    """A delayed publish is over: published, dropped or removed."""

    number: int


class KeyRemembered(Struct, gc=False):
    """A publish was made under an idempotency key. Ends with the topic's life, too."""

    topic: bytes
    key: bytes
    digest: bytes
    at_us: int
    """Microseconds of the monotonic clock."""
    subscribers: int
    seq: int
    due_ms: int
    """Of a delayed publish, milliseconds of the broker's time; else 0."""


class KeyForgotten(Struct, gc=False):
    """The key may be used again."""

    topic: bytes
    key: bytes


class PiecesFreed(Struct, gc=False):
    """Derived, for stores: nobody wants these pieces any more. Does not change the state."""

    pieces: tuple[int, ...]


Record = (
    StoreOpened
    | CalendarSet
    | TopicBegan
    | TopicChanged
    | TopicEnded
    | MessageStored
    | HeadMoved
    | PieceDamaged
    | PiecesFreed
    | SubscriptionSet
    | SubscriptionEnded
    | SettingsSet
    | Leased
    | Returned
    | Finished
    | DeadLettered
    | DeadEnded
    | DeadReturned
    | PublishDelayed
    | DelayEnded
    | KeyRemembered
    | KeyForgotten
)

OfUser = SettingsSet | Leased | Returned | Finished | DeadLettered | DeadEnded | DeadReturned
"""Records that change the delivery state of one user."""
