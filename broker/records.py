"""What can change in a broker. Records are the only input of `State.apply` and all that a store is given.

They describe state, not history: `load()` of a store yields records proportional to what is alive, in the
order StoreOpened, then for each topic TopicBegan, MessageStored in order, SubscriptionSet.
"""

from __future__ import annotations

from msgspec import Struct


class StoreOpened(Struct, gc=False):
    """The identity of a store, made once, and the last topic number that was given out."""

    store_id: str
    topics_begun: int


class TopicBegan(Struct, gc=False):
    """A topic's life begins. `number` is never given out again by this store; it makes the epoch."""

    topic: bytes
    number: int
    next_seq: int
    """Sequence number of the next message; above 1 only in `load()`."""


class TopicEnded(Struct, gc=False):
    """The last subscription is gone: the topic leaves nothing behind."""

    topic: bytes


class MessageStored(Struct, gc=False):
    """A message, or a batch of `count`, enters the log of a topic, at the topic's next sequence number."""

    topic: bytes
    seq: int
    time: int
    """Milliseconds since 1970 UTC."""
    headers: bytes
    body: bytes
    count: int = 1
    offsets: bytes = b""


class SubscriptionSet(Struct, gc=False):
    """A subscription exists and its next message is `position`."""

    topic: bytes
    user: bytes
    position: int


class SubscriptionEnded(Struct, gc=False):
    """A subscription is gone."""

    topic: bytes
    user: bytes


class Trimmed(Struct, gc=False):
    """Derived, for stores: messages below `head` are wanted by nobody any more. Changes no state."""

    topic: bytes
    head: int


Record = StoreOpened | TopicBegan | TopicEnded | MessageStored | SubscriptionSet | SubscriptionEnded | Trimmed
