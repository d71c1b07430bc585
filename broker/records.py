"""The records of all changes: the only input of `State.apply`, and all that a store is given.

They describe state, not history: `load()` of a store yields records in proportion to what is alive. StoreOpened is
first, then CalendarSet where the clock was ever set and the slots (`broker/slot_records.py`). For each topic follow
TopicBegan, TopicChanged and its MessageStored in order; then, for each of its users, SubscriptionSet, SettingsSet,
DeadLettered in the order in which the messages died, DeadReturned for those that were put back, Leased for every held
message, and Returned for those that are not leased. KeyRemembered and PublishDelayed come last, each in order.

Names end with their unit: `_us` is microseconds of the broker's monotonic clock, `_ms` milliseconds of the broker's
time (`Now.time`). `time` and `expires` are milliseconds too. With a durable store both clocks continue after a restart.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.calendar import Step
from broker.packed import Packed as _Packed
from broker.slot_records import SlotRecord
from common.clock import Now


class StoreOpened(_Packed, tag=1):
    """The identity of a store, written once, and the last topic number that it has assigned."""

    store_id: str
    topics_begun: int
    last_piece: int = 0
    """The greatest number of a piece of which anything is left, or of all so far."""
    last_delayed: int = 0  # the same of delayed publishes
    spread_over: str | None = None
    """In `load()` only, of a store of an older version: the ids of the brokers over which its topics were spread."""


class CalendarSet(_Packed, tag=2):
    """The remembered steps of the calendar, all of them."""

    steps: tuple[Step, ...]


class TopicBegan(_Packed, tag=3):
    """A topic's life begins. `number` is never assigned again by this store; the epoch is made from it."""

    topic: bytes
    number: int
    next_seq: int
    """Sequence number of the next message; above 1 in `load()`, and of a topic that has moved here."""
    epoch: str = ""  # of a topic that has moved here; "": made from the id of the store and the number


class TopicChanged(_Packed, tag=4):
    """The operator's settings for one topic, all of them; None: as configured. They end with the topic's life."""

    topic: bytes
    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: int | None = None
    """Milliseconds."""
    drop_oldest: bool | None = None


class TopicEnded(_Packed, tag=5):
    """The last subscription has ended: nothing is left of the topic."""

    topic: bytes


class Content(NamedTuple):
    """The content of a piece, as in `Piece`."""

    headers: bytes
    offsets: bytes
    body: bytes


class Payload(_Packed):
    """What was published: one message, or a batch of `count` messages."""

    headers: bytes
    body: bytes
    count: int = 1
    offsets: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body) + len(self.offsets)


class MessageStored(_Packed, tag=6):
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


class PieceDamaged(_Packed, tag=7):
    """The piece that begins with `seq` cannot be read; it is not delivered any more.

    Not stored: found again after a restart where a reader has not passed it.
    """

    topic: bytes
    seq: int


class SubscriptionSet(_Packed, tag=8):
    """A subscription exists; `position` is the sequence number of its next message."""

    topic: bytes
    user: bytes
    position: int


class SubscriptionEnded(_Packed, tag=9):
    """A subscription has ended."""

    topic: bytes
    user: bytes


class SettingsSet(_Packed, tag=10):
    """The settings of a subscription, all of them."""

    topic: bytes
    user: bytes
    expires_after: int
    """Microseconds without a call; 0: never."""
    max_deliveries: int


class Leased(_Packed, tag=11):
    """`count` messages from `first` on are leased; it is their delivery number `attempt`."""

    topic: bytes
    user: bytes
    first: int
    count: int
    attempt: int
    until_us: int
    """Microseconds of the monotonic clock."""


class Returned(_Packed, tag=12):
    """Messages that were leased wait for redelivery."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]
    due_us: int
    """Earliest redelivery, microseconds of the monotonic clock; 0: now."""


class Finished(_Packed, tag=13):
    """Messages that were held are acknowledged, or will not be redelivered."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadLetter(_Packed):
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


class DeadLettered(_Packed, tag=14):
    """A message moves to the user's dead-letter list and is not held any more."""

    topic: bytes
    user: bytes
    letter: DeadLetter


class DeadEnded(_Packed, tag=15):
    """Dead letters are deleted."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadReturned(_Packed, tag=16):
    """Dead letters wait for redelivery. Attempts continue; deliveries are counted from 0."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class HeadMoved(_Packed, tag=17):
    """The topic drops all messages below `head`, wanted or not.

    `head` is the first message of a piece, or the next one.
    """

    topic: bytes
    head: int


class PublishDelayed(_Packed, tag=18):
    """A publish is delayed. `number` grows and is not assigned again while any publish is delayed."""

    number: int
    topic: bytes
    due_ms: int
    """Milliseconds of the broker's time at which it is published."""
    payload: Payload
    ttl: int
    """Milliseconds until it expires, counted from then; 0: never."""


class DelayEnded(_Packed, tag=19):
    """A delayed publish is over: published, dropped or removed."""

    number: int


class KeyRemembered(_Packed, tag=20):
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


class KeyForgotten(_Packed, tag=21):
    """The key may be used again."""

    topic: bytes
    key: bytes


class PiecesFreed(_Packed, tag=22):
    """Derived, for stores: no subscriber needs these pieces. Does not change the state."""

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
    | SlotRecord
)

OfUser = SettingsSet | Leased | Returned | Finished | DeadLettered | DeadEnded | DeadReturned
"""Records that change the delivery state of one user."""
