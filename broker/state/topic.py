"""A topic: one log of messages and the positions of its subscribers in it.

One body is stored however many subscribers there are. Publishing costs the same for any number of subscribers; reading,
jumping and leaving take a bounded number of steps, however much they free.

A reader stands at `Subscription.floor`. Where the head moves over readers (a ceiling, an expiry), they count at the new
head: a position below the head means the head.
"""

from __future__ import annotations

from broker.records import TopicChanged
from broker.state.garbage import Garbage
from broker.state.message_log import MessageLog
from broker.state.name_index import NameIndex, make_index
from broker.state.subscription import Subscription
from broker.state.topic_settings import TopicSettings
from broker.thresholds import DEFAULT, Thresholds


class Topic(MessageLog):
    """The log and the subscriptions of one topic. Changed by `State.apply` only."""

    __slots__ = ("_peak", "changed", "epoch", "index", "name", "number", "settings", "subscriptions")

    def __init__(
        self,
        name: bytes,
        number: int,
        epoch: str,
        next_seq: int,
        settings: TopicSettings,
        garbage: Garbage | None = None,
        thresholds: Thresholds = DEFAULT,
    ) -> None:
        super().__init__(next_seq, garbage, thresholds)
        self.name = name
        self.settings = settings
        self.changed: TopicChanged | None = None
        """The operator's settings for this topic alone; included in `settings`. Persists."""
        self.number = number
        self.epoch = epoch
        self.subscriptions: dict[bytes, Subscription] = {}
        self.index: NameIndex[bytes] | None = None
        """The users in order, where there are many."""
        self._peak = 0
        """The most subscriptions since their dictionary was created."""

    @property
    def head_deadline(self) -> int | None:
        """Return when the oldest piece is too old, milliseconds of the broker's time; None: never."""
        piece, max_age = self.head_piece, self.settings.max_age
        if piece is None or not (piece.expires or max_age):
            return None
        ends = piece.time + max_age if max_age else piece.expires
        return min(ends, piece.expires) if piece.expires else ends

    def pending(self, subscription: Subscription) -> int:
        """Return the number of messages to deliver to a user; expired ones may be among them."""
        return self.next_seq - max(subscription.position, self.head_seq) + subscription.returned

    def set_position(self, user: bytes, position: int) -> int:
        """Put a user's subscription at a position, new or moved. Return the number of messages that this freed."""
        subscription = self.subscriptions.get(user)
        if subscription is None:
            self.enter(position)
            self.subscriptions[user] = Subscription(position)
            if self.index is not None:
                self.index.add(user)
            elif len(self.subscriptions) > self.thresholds.few:
                self.index = make_index(self.subscriptions)
            self._peak = max(self._peak, len(self.subscriptions))
            return 0
        if subscription.delivery is None:  # the common case, for every message that is read
            before, subscription.position = subscription.position, position
            return self.move(before, position)
        before = subscription.floor
        subscription.position = position
        return self.move_reader(subscription, before)

    def move_reader(self, subscription: Subscription, before: int) -> int:
        """Move a reader from `before` to the subscription's floor. Return the number of messages that this freed."""
        floor = subscription.floor
        if floor == before:
            return 0
        return self.move(before, floor)

    def remove(self, user: bytes) -> int:
        """End a user's subscription. Return the number of messages that this freed."""
        position = self.subscriptions.pop(user).floor
        if self.index is not None:
            self.index.remove(user)
        if len(self.subscriptions) * 8 < self._peak and self._peak > self.thresholds.compact:
            self.subscriptions = dict(self.subscriptions)  # a dictionary never shrinks
            self._peak = len(self.subscriptions)
        return self.leave(position)
