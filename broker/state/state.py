"""The state of a broker. Only `apply(record)` changes it.

Deterministic: no clock, random, socket or disk. The records that a store gives back on `load()` rebuild it through the
same `apply`. Deadlines follow from the records; `broker/dispatch/scheduler.py` does what is due.
"""

from __future__ import annotations

from collections.abc import Callable

from broker import records
from broker.calendar import Calendar
from broker.errors import MisfitError, must
from broker.records import Record
from broker.state.body_cache import BodyCache
from broker.state.delayed import Delayed
from broker.state.delivery_state import DELIVERY_CHANGES, DeliveryState, DeliveryTotals
from broker.state.garbage import Garbage
from broker.state.idempotency import IdempotencyKeys, KnownPublish
from broker.state.name_index import NameIndex, make_index
from broker.state.piece import MESSAGE_COST
from broker.state.slots import Slots
from broker.state.subscription import Subscription
from broker.state.timers import Timers
from broker.state.topic import Topic
from broker.state.topic_settings import TopicRules, changed_settings
from broker.thresholds import DEFAULT, Thresholds

# Bytes of memory beside names and content, measured by bench/measures/memory.py on CPython 3.11 and rounded up.
TOPIC_COST = 880
SUBSCRIPTION_COST = 192

UserOf = tuple[bytes, bytes]
"""A topic and a user."""


class State:
    """Topics by name, and gauges that are maintained incrementally."""

    def __init__(
        self,
        rules: TopicRules | None = None,
        bodies: BodyCache | None = None,
        durable: bool = False,
        thresholds: Thresholds = DEFAULT,
    ) -> None:
        """Create an empty state; `durable`: the store wants to know which pieces are freed."""
        self.thresholds = thresholds
        self.rules = rules or TopicRules()
        """Settings of topics from the configuration, not stored."""
        self.bodies = bodies or BodyCache()
        """Where bodies are. Not a part of the state: results do not depend on it."""
        self.store_id, self.topics_begun = "", 0
        self.topics: dict[bytes, Topic] = {}
        self.index: NameIndex[bytes] | None = None
        """The names in order, where there are many topics."""
        self.slots = Slots()
        self.keys = IdempotencyKeys(thresholds, self.slots)
        self.delayed = Delayed(thresholds, self.slots)
        self.calendar = Calendar()
        self.garbage = Garbage(self.bodies, durable)
        """What is gone and still in memory. Not a part of the state."""
        self.subscriptions = self.messages = 0
        self.pieces = 0
        """Single messages and batches."""
        self.last_piece = 0
        """The greatest number of a piece so far."""
        self.content_bytes = 0
        """Bodies and kept headers in the logs."""
        self.name_bytes = 0
        """Names of topics and users."""
        self.delivery_totals = DeliveryTotals(thresholds)
        self.leases_due: Timers[UserOf] = Timers(thresholds)
        """When the first lease or delay of a user ends, or earlier; microseconds of the monotonic clock."""
        self.idle_due: Timers[UserOf] = Timers(thresholds)
        """When to check whether a subscription is idle for too long; the same clock."""
        self.heads_due: Timers[bytes] = Timers(thresholds)
        """When the oldest message of a topic is too old, or earlier; milliseconds of the broker's time."""
        self._apply = self._changes()

    def _changes(self) -> dict[type[Record], Callable[..., None]]:
        """Return the method that applies each kind of record."""
        return {
            records.StoreOpened: self._store_opened,
            records.CalendarSet: lambda record: self.calendar.set(record.steps),
            records.TopicBegan: self._topic_began,
            records.TopicChanged: self._topic_changed,
            records.TopicEnded: self._topic_ended,
            records.MessageStored: self._message_stored,
            records.HeadMoved: self._head_moved,
            records.PieceDamaged: self._piece_damaged,
            records.SubscriptionSet: self._subscription_set,
            records.SubscriptionEnded: self._subscription_ended,
            records.PublishDelayed: self.delayed.add,
            records.DelayEnded: lambda record: self.delayed.end(record.number),
            records.KeyRemembered: self._key_remembered,
            records.KeyForgotten: lambda record: self.keys.forget(record.topic, record.key),
            **dict.fromkeys(DELIVERY_CHANGES, self._of_user),
            **self.slots.changes(),
        }

    @property
    def names(self) -> set[bytes]:
        """Return the topics that have anything: live ones, and those with delayed publishes."""
        return {*self.topics, *self.delayed.topics}

    @property
    def memory(self) -> int:
        """Return the estimated bytes in memory, which the `memory` setting limits."""
        return (
            self.content_bytes
            - self.bodies.away_bytes
            + self.name_bytes
            + self.pieces * MESSAGE_COST
            + self.garbage.memory
            + self.subscriptions * SUBSCRIPTION_COST
            + len(self.topics) * TOPIC_COST
            + self.delivery_totals.bytes
            + self.keys.weight
            + self.delayed.weight
        )

    def apply(self, record: Record) -> None:
        """Make the change that a record describes.

        Raises `MisfitError` for one that does not fit the state, which must not be used then.
        """
        try:
            self._apply[type(record)](record)
        except (LookupError, TypeError, ValueError) as error:
            raise MisfitError(f"{type(record).__name__}: {error!r}") from error

    def _store_opened(self, record: records.StoreOpened) -> None:
        must(not self.store_id, "a store is opened once")
        self.store_id = record.store_id
        self.slots.spread_over = record.spread_over
        self.topics_begun = record.topics_begun
        self.last_piece = record.last_piece
        self.delayed.last_number = record.last_delayed

    def _topic_began(self, record: records.TopicBegan) -> None:
        must(record.topic not in self.topics, "a topic begins once")
        must(record.next_seq > 0, "sequence numbers begin with 1")
        epoch = record.epoch or f"{self.store_id}{record.number:x}"
        settings = self.rules.of(record.topic)
        about = (record.topic, record.number, epoch, record.next_seq, settings)
        self.topics[record.topic] = Topic(*about, self.garbage, self.thresholds)
        if self.index is not None:
            self.index.add(record.topic)
        elif len(self.topics) > self.thresholds.few:
            self.index = make_index(self.topics)
        self.slots.add_name(record.topic)
        self.topics_begun = max(self.topics_begun, record.number)
        self.name_bytes += len(record.topic)

    def _topic_ended(self, record: records.TopicEnded) -> None:
        must(not self.topics[record.topic].subscriptions, "a topic ends with its last subscription")
        del self.topics[record.topic]
        self.slots.remove_name(record.topic)
        if self.index is not None:
            self.index.remove(record.topic)
        self.heads_due.drop(record.topic)
        keys = self.keys.forget_topic(record.topic)
        if keys is not None:
            self.garbage.add_keys(keys)
        self.name_bytes -= len(record.topic)

    def _topic_changed(self, record: records.TopicChanged) -> None:
        topic = self.topics[record.topic]
        topic.changed = None if record == records.TopicChanged(record.topic) else record
        topic.settings = changed_settings(self.rules.of(record.topic), record)
        self.watch_head(topic)

    def _message_stored(self, record: records.MessageStored) -> None:
        topic = self.topics[record.topic]
        if record.seq != topic.next_seq:
            raise MisfitError(f"message {record.seq} where {topic.next_seq} is the next of topic {topic.number}")
        must(record.payload.count > 0, "a piece holds a message")
        piece = topic.append(record.time, record.payload, record.expires, record.piece, record.stored)
        self.messages += piece.count
        self.pieces += 1
        self.last_piece = max(self.last_piece, record.piece)
        self.content_bytes += piece.size
        if self.garbage.freed is not None:
            self.bodies.stored(piece)
        if topic.ttls or topic.settings.max_age:
            self.watch_head(topic)

    def _head_moved(self, record: records.HeadMoved) -> None:
        topic = self.topics[record.topic]
        must(topic.head_seq < record.head <= topic.next_seq, "a head moves forward, within the log")
        must(record.head == topic.next_seq or topic.piece(record.head).first == record.head, "pieces go as a whole")
        before = (topic.bytes, topic.pieces_stored)
        self._freed(topic, before, topic.move_head(record.head))

    def _piece_damaged(self, record: records.PieceDamaged) -> None:
        topic = self.topics[record.topic]
        must(topic.mark_damaged(record.seq), "a piece is damaged as a whole")
        self.watch_head(topic)

    def _subscription_set(self, record: records.SubscriptionSet) -> None:
        topic = self.topics[record.topic]
        if not 0 < record.position <= topic.next_seq:
            raise MisfitError(f"position {record.position} in topic {topic.number}, whose next is {topic.next_seq}")
        if record.user not in topic.subscriptions:
            self.subscriptions += 1
            self.name_bytes += len(record.user)
        before = (topic.bytes, topic.pieces_stored)
        self._freed(topic, before, topic.set_position(record.user, record.position))

    def _subscription_ended(self, record: records.SubscriptionEnded) -> None:
        topic = self.topics[record.topic]
        delivery = topic.subscriptions[record.user].delivery
        before = (topic.bytes, topic.pieces_stored)
        self._freed(topic, before, topic.remove(record.user))
        self.subscriptions -= 1
        self.name_bytes -= len(record.user)
        if delivery is not None:
            self.delivery_totals.count(record.topic, record.user, delivery, -1)
            self.leases_due.drop((record.topic, record.user))
            self.idle_due.drop((record.topic, record.user))

    def _of_user(self, record: records.OfUser) -> None:
        topic = self.topics[record.topic]
        subscription = topic.subscriptions[record.user]
        if type(record) is records.Leased:
            must(0 < record.first < record.first + record.count <= topic.next_seq, "what is leased was published")
        floor, before = subscription.floor, (topic.bytes, topic.pieces_stored)
        if subscription.delivery is None:
            subscription.delivery = DeliveryState(self.thresholds)
        else:
            self.delivery_totals.count(record.topic, record.user, subscription.delivery, -1)
        DELIVERY_CHANGES[type(record)](subscription.delivery, record)
        if type(record) is records.SettingsSet:
            self.idle_due.drop((record.topic, record.user))  # another time span: checked soon
        self._watch_user((record.topic, record.user), subscription.delivery)
        if subscription.delivery.needed:
            self.delivery_totals.count(record.topic, record.user, subscription.delivery, 1)
        else:
            subscription.delivery = None
        self._freed(topic, before, topic.move_reader(subscription, floor))

    def _watch_user(self, key: UserOf, delivery: DeliveryState) -> None:
        due = delivery.leases.deadlines.next_due()
        if due is None:
            self.leases_due.drop(key)
        else:
            self.leases_due.set_earlier(key, due)
        if not delivery.expires_after:
            self.idle_due.drop(key)
        elif self.idle_due.get(key) is None:
            self.idle_due.set(key, 0)  # checked soon, by the scheduler, which knows the time

    def watch_head(self, topic: Topic) -> None:
        """Set the deadline of the topic's oldest message."""
        deadline = topic.head_deadline
        if deadline is None:
            self.heads_due.drop(topic.name)
        else:
            self.heads_due.set_earlier(topic.name, deadline)

    def watch_leases(self, key: UserOf, subscription: Subscription) -> None:
        """Set the deadline of a user's leases, after the last one was removed."""
        if subscription.delivery is not None:
            self._watch_user(key, subscription.delivery)

    def _key_remembered(self, record: records.KeyRemembered) -> None:
        must(self.keys.get(record.topic, record.key) is None, "a key is forgotten before it is used again")
        remembered = KnownPublish(record.digest, record.at_us, record.subscribers, record.seq, record.due_ms)
        self.keys.remember(record.topic, record.key, remembered)

    def _freed(self, topic: Topic, before: tuple[int, int], messages: int) -> None:
        """Update the gauges after messages were freed; `before` is the topic's bytes and pieces."""
        if messages:
            self.messages -= messages
            self.content_bytes -= before[0] - topic.bytes
            self.pieces -= before[1] - topic.pieces_stored
            if topic.ttls or topic.settings.max_age:
                self.watch_head(topic)
