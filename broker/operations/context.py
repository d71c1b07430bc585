"""What the handlers of all operations work on: the state, its ceilings, and the records of the burst."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from broker.errors import DamagedError
from broker.operations.limits import Limits, on_disk
from broker.records import HeadMoved, PieceDamaged, Record, SubscriptionEnded, TopicEnded
from broker.state.piece import Piece
from broker.state.state import State, UserOf
from broker.state.subscription import Subscription
from broker.state.topic import Topic
from broker.thresholds import Thresholds
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.wire import Request

log = logging.getLogger("fanmail.broker")


@dataclass(slots=True)
class Context:
    """Passed to every handler. A handler that raises `FanmailError` has emitted nothing that the request asked for."""

    state: State
    limits: Limits
    counters: Counter[str] = field(default_factory=Counter)
    """What happened, by name, since the broker began."""
    records: list[Record] = field(default_factory=list)
    woken: list[UserOf] = field(default_factory=list)
    """Users of whom a message may be handed out again; taken by who knows the waiters."""
    ended: list[UserOf] = field(default_factory=list)
    """Users whose subscriptions the operator has ended; likewise."""
    scan_budget: int = field(init=False)
    """Entries that may still be looked at in this turn."""
    most_scanned: int = 0
    """The most entries that were looked at in one turn so far."""
    changed: bool = False
    """Something was emitted that is not committed yet: an error now may mean that the state is half-way."""
    room: int = 2**62
    """Bytes that may still be written to the store in this turn; set by the loop before each turn."""
    backup: Callable[[str], ops.BackupProgress] | None = None
    """Begins the copy of the store with a name, or says how far it is; None: there is nothing to copy."""
    paused: bool = False
    """The operator has paused this broker: publishes and new subscriptions are refused. Not kept over a restart."""

    def __post_init__(self) -> None:
        self.scan_budget = self.thresholds.scan

    @property
    def thresholds(self) -> Thresholds:
        """At which this broker takes another path."""
        return self.state.thresholds

    def turn_begins(self) -> None:
        """As many entries as ever may be looked at again."""
        self.most_scanned = max(self.most_scanned, self.thresholds.scan - self.scan_budget)
        self.scan_budget = self.thresholds.scan

    def may_scan(self, wanted: int) -> int:
        """At how many of so many entries this turn may still look. Who has looked takes them off `looks`."""
        return max(0, min(wanted, self.scan_budget))

    def check_open(self) -> None:
        """Raise `paused` (503) where the operator has paused this broker."""
        if self.paused:
            raise FanmailError("paused", "the operator has paused this broker: it serves only what it has")

    def check_storage(self, size: int) -> None:
        """Raise `storage-full` (503) where content of this size would leave the disk without its reserve."""
        if on_disk(size) > self.room:
            raise FanmailError("storage-full", "the broker's disk is nearly full; what is read makes room again")

    def reserve(self, size: int) -> None:
        """Count content of this size against what may be written in this turn."""
        self.room -= on_disk(size)

    def emit(self, record: Record) -> None:
        """Changes the state and remembers the change for the store. Raises `MisfitError`, which ends the broker."""
        self.changed = True
        self.state.apply(record)
        self.records.append(record)

    def whole(self, topic: Topic, piece: Piece) -> Piece | None:
        """The piece with its content. None where that is damaged: then the piece is set aside for all readers, and the
        next one can be handed out. Raises `StoreError`.
        """
        try:
            return self.state.bodies.whole(piece)
        except DamagedError as error:
            self.set_aside(f"{topic.epoch}-{piece.first}", piece.count, str(error))
            self.emit(PieceDamaged(topic.name, piece.first))
            return None

    def set_aside(self, message: str, count: int, reason: str) -> None:
        """Stored messages are damaged, of which this is the id of the first: they are counted, and nobody gets them."""
        self.counters[stats.DROPPED("damaged")] += count
        about = {"id": message, "count": count, "reason": reason}
        log.error("a stored message is damaged and set aside", extra=about)

    def take_records(self) -> list[Record]:
        """What changed since the last call, in order, for one `store.commit`."""
        self.changed = False
        records = self.records + self.state.garbage.take_freed()
        self.records = []
        return records

    def move_head(self, topic: Topic, head: int, reason: str) -> None:
        """Drops the oldest messages of a topic though somebody wants them, and counts them; those that are damaged are
        counted already.
        """
        self.counters[stats.DROPPED(reason)] += head - topic.head_seq - topic.damaged_between(topic.head_seq, head)
        self.emit(HeadMoved(topic.name, head))

    def end_subscription(self, topic: Topic, user: bytes) -> None:
        """The user's unread messages are let go; the topic ends with its last subscription."""
        self.emit(SubscriptionEnded(topic.name, user))
        if not topic.subscriptions:
            self.emit(TopicEnded(topic.name))


class SubscriptionRef(Struct, gc=False):
    """One user's subscription to one topic, as a handler finds it."""

    context: Context
    topic: Topic
    user: bytes
    subscription: Subscription

    def emit(self, kind: type[Record], *fields: object) -> None:
        """Emits a record about this subscription."""
        self.context.emit(kind(self.topic.name, self.user, *fields))  # type: ignore[call-arg, arg-type]


def lookup(context: Context, topic_name: bytes, user: bytes) -> SubscriptionRef | None:
    """Return a user's subscription to a topic, None where there is none."""
    topic = context.state.topics.get(topic_name)
    if topic is None:
        return None
    subscription = topic.subscriptions.get(user)
    return None if subscription is None else SubscriptionRef(context, topic, user, subscription)


def find(context: Context, request: Request) -> SubscriptionRef:
    """Return the subscription that a request names; its idle clock goes on. Raise `no-subscription` (404)."""
    ref = lookup(context, request.topic, request.user)
    if ref is None:
        raise FanmailError("no-subscription", "this user has no subscription to this topic")
    return ref


def touch(context: Context, request: Request, now: Now) -> SubscriptionRef:
    """Return the subscription that a request names and restart its idle clock. Raise `no-subscription` (404)."""
    ref = find(context, request)
    if ref.subscription.delivery is not None:
        ref.subscription.delivery.last_call = now.mono
    return ref
