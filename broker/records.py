"""What can change in a broker. Records are the only input of `State.apply` and all that a store is given.

They describe state, not history: `load()` of a store yields records proportional to what is alive. StoreOpened is
the first, and CalendarSet the second where the clock was ever set. Of each topic come TopicBegan, TopicChanged and
MessageStored in order, and then of each of its users SubscriptionSet, SettingsSet, DeadLettered in the order of their
dying and DeadReturned for those that were put back, Leased for what is held and Returned for what of that is not
leased; at last KeyRemembered and PublishDelayed in order.

Times called `until`, `due` or `at` of the monotonic clock are microseconds of the broker's clock, which a store that
outlives its process makes go on where it stood; so does the broker's time (`Now.time`), in milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from broker.calendar import Step
from common.clock import Now


class StoreOpened(Struct, gc=False):
    """The identity of a store, made once, and the last topic number that was given out."""

    store_id: str
    topics_begun: int
    last_piece: int = 0
    """The greatest number of a piece of which there is still anything."""


class CalendarSet(Struct, gc=False):
    """The dates of the broker's time, all that are remembered."""

    steps: tuple[Step, ...]


class TopicBegan(Struct, gc=False):
    """A topic's life begins. `number` is never given out again by this store; it makes the epoch."""

    topic: bytes
    number: int
    next_seq: int
    """Sequence number of the next message; above 1 only in `load()`."""


class TopicChanged(Struct, gc=False):
    """Settings of a topic that the operator set for it alone, all of them; None: as the configuration says. They end
    with the topic's life.
    """

    topic: bytes
    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: int | None = None
    """Milliseconds."""
    drop_oldest: bool | None = None


class TopicEnded(Struct, gc=False):
    """The last subscription is gone: the topic leaves nothing behind."""

    topic: bytes


class Content(NamedTuple):
    """What a piece says, as `Piece` has it."""

    headers: bytes
    offsets: bytes
    body: bytes


class Payload(Struct, gc=False):
    """What was published: one message, or a batch of `count`."""

    headers: bytes
    body: bytes
    count: int = 1
    offsets: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body) + len(self.offsets)


class MessageStored(Struct, gc=False):
    """A message or a batch enters the log of a topic, at the topic's next sequence number."""

    topic: bytes
    seq: int
    time: int
    """Milliseconds of the broker's time."""
    payload: Payload
    expires: int = 0
    """Milliseconds of the broker's time from which on it is not handed out any more; 0: never."""
    piece: int = 0
    """Number of the piece that it is; grows with every piece of a store."""
    stored: int | None = None
    """In `load()` only: bytes of its content, of which the payload has the count alone: the rest is in the store."""


class PieceDamaged(Struct, gc=False):
    """The piece that begins with `seq` cannot be read: nobody is handed it any more. Not stored; found again after a
    restart where somebody still stands before it.
    """

    topic: bytes
    seq: int


class SubscriptionSet(Struct, gc=False):
    """A subscription exists and its next message is `position`."""

    topic: bytes
    user: bytes
    position: int


class SubscriptionEnded(Struct, gc=False):
    """A subscription is gone."""

    topic: bytes
    user: bytes


class SettingsSet(Struct, gc=False):
    """The settings of a subscription, all of them."""

    topic: bytes
    user: bytes
    expires_after: int
    """Microseconds."""
    max_deliveries: int


class Leased(Struct, gc=False):
    """`count` messages from `first` on are leased until a time, handed out for the `attempt`-th time."""

    topic: bytes
    user: bytes
    first: int
    count: int
    attempt: int
    until_us: int
    """Microseconds of the monotonic clock."""


class Returned(Struct, gc=False):
    """Messages that were handed out are not leased any more and wait to be handed out again."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]
    due_us: int
    """Not before this, microseconds of the monotonic clock; 0: from now on."""


class Finished(Struct, gc=False):
    """Messages that were handed out under a lease are done, or will not be handed out again."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadLetter(Struct, gc=False):
    """A message that a subscription keeps for itself, apart from the log: a dead letter, or one that was put back."""

    seq: int
    time: int
    """Milliseconds of the broker's time at publish."""
    attempt: int
    """How many times it had been handed out when it died."""
    headers: bytes
    body: bytes
    expires: int
    """Milliseconds of the broker's time after which it is not handed out; 0: never."""

    def has_expired(self, now: Now) -> bool:
        """Whether it may not be handed out any more."""
        return 0 < self.expires <= now.time

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.headers) + len(self.body)


class DeadLettered(Struct, gc=False):
    """A message goes to the user's dead list, and is held no more."""

    topic: bytes
    user: bytes
    letter: DeadLetter


class DeadEnded(Struct, gc=False):
    """Dead letters are gone."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class DeadReturned(Struct, gc=False):
    """Dead letters wait again; their attempts go on, their deliveries are counted anew."""

    topic: bytes
    user: bytes
    seqs: tuple[int, ...]


class HeadMoved(Struct, gc=False):
    """The topic lets go of all messages below `head`, whoever wants them; that is the first of a piece, or the next."""

    topic: bytes
    head: int


class PublishDelayed(Struct, gc=False):
    """A publish waits aside. `number` grows and is never given out again while any waits."""

    number: int
    topic: bytes
    due_ms: int
    """Milliseconds of the broker's time."""
    payload: Payload
    ttl: int
    """Milliseconds that it lives once it is published; 0: without end."""


class DelayEnded(Struct, gc=False):
    """A delayed publish waits no more."""

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
    """Of a delayed publish, milliseconds of the broker's time."""


class KeyForgotten(Struct, gc=False):
    """The key may be used again."""

    topic: bytes
    key: bytes


class PiecesFreed(Struct, gc=False):
    """Derived, for stores: nobody wants these pieces any more. Changes no state."""

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
"""Records that change what a user has beside his place in the log."""
