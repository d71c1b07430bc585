"""What handlers work on: the state, its ceilings, the records of the burst, and the budgets of the turn."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from broker.errors import DamagedError
from broker.operations.adoption import Adoption
from broker.operations.limits import Limits, on_disk
from broker.operations.stream_numbers import StreamNumbers
from broker.records import HeadMoved, PieceDamaged, Record, SubscriptionEnded, TopicEnded
from broker.state.piece import Piece
from broker.state.state import State, UserOf
from broker.state.subscription import Subscription
from broker.state.topic import Topic
from broker.thresholds import Thresholds
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.move_ops import MoveRow
from common.protocol.wire import Request

log = logging.getLogger("fanmail.broker")


class ReplicaControl(Protocol):
    """What the operator can ask of a candidate of a replicated log."""

    @property
    def unproven(self) -> bool:
        """Return whether nobody has checked that the servers of the log sync every write."""
        ...

    def status(self) -> ops.Replica:
        """Return where it stands."""
        ...

    def hand_over(self, to: str) -> None:
        """Begin to give the log to the candidate with this name, "": any. Raise `handover-failed`."""
        ...

    def gauges(self) -> dict[str, int]:
        """Return the gauges of `common/protocol/log_stats.py`."""
        ...


class MoveControl(Protocol):
    """What the operator can ask of a broker about its slots."""

    broker: str
    paused: bool
    """No further move begins: the operator's word, lost at a restart."""

    @property
    def status(self) -> str:
        """Return the status of `SlotTable`."""
        ...

    @property
    def map_epoch(self) -> int:
        """Return the epoch of the description."""
        ...

    @property
    def map_digest(self) -> str:
        """Return the digest of the description's owners."""
        ...

    def described(self) -> list[int]:
        """Return the slots that the description gives this broker."""
        ...

    def move(self, slot: int, to: str, now: Now) -> MoveRow:
        """Begin to move a slot, or say how its move stands. Raise `move-refused`."""
        ...

    def abort(self, slot: int, now: Now) -> MoveRow:
        """End the move of a slot, unless it has arrived. Raise `move-refused`."""
        ...

    def give_up(self, slot: int, now: Now) -> None:
        """Serve a frozen slot again without the consent of its target, which is lost for good."""
        ...

    def rows(self) -> list[MoveRow]:
        """Return the moves from here."""
        ...


@dataclass(slots=True)
class Context:
    """Passed to every handler. A handler that raises `FanmailError` has emitted nothing that the request asked for."""

    state: State
    limits: Limits
    counters: Counter[str] = field(default_factory=Counter)
    """Counters by the names of `common/protocol/stats.py`."""
    records: list[Record] = field(default_factory=list)
    woken: list[UserOf] = field(default_factory=list)
    """Users for whom a message may be delivered again; the dispatcher takes them to the waiters."""
    ended: list[UserOf] = field(default_factory=list)
    """Users whose subscriptions the operator has ended; likewise."""
    streams: StreamNumbers = field(default_factory=StreamNumbers)
    scan_budget: int = field(init=False)
    """Entries that may still be scanned in this turn."""
    most_scanned: int = 0
    """The most entries that were scanned in one turn so far."""
    changed: bool = False
    """Something was emitted that is not committed: after an unforeseen error the state may be half-changed."""
    writable_bytes: int = 2**62
    """Bytes that may still be written to the store in this turn; set by the loop before each turn."""
    cuts: list[int] | None = None
    """After how many of the records the burst may be cut; None where the store takes bursts of any size."""
    backup: Callable[[str], ops.BackupProgress] | None = None
    """Begins the copy of the store with a name, or returns its progress; None: there is no store to copy."""
    read_backup: Callable[[str, int, int], ops.BackupPart] | None = None
    """Reads a complete copy by name: offset, length."""
    replica: ReplicaControl | None = None
    """The part of this broker in its replicated log."""
    moves: MoveControl | None = None
    """The moves of slots from this broker; None: slots do not move here."""
    adoptions: dict[int, Adoption] = field(default_factory=dict)
    """The slots that come from other brokers."""
    residue: set[int] = field(default_factory=set)
    """Slots that are not here any more, of which topics may be left."""
    thawed: list[int] = field(default_factory=list)
    """Slots that are served from now on: what rested in them goes on."""
    max_body: int = 0
    """Bytes of the largest body that this broker takes, 0: unknown."""
    paused: bool = False
    """The operator has paused this broker: publishes and new subscriptions are refused. Lost at a restart."""

    def __post_init__(self) -> None:
        self.scan_budget = self.thresholds.scan

    @property
    def thresholds(self) -> Thresholds:
        """Return the numbers at which this broker takes another path."""
        return self.state.thresholds

    def turn_begins(self) -> None:
        """Restore the scan budget."""
        self.most_scanned = max(self.most_scanned, self.thresholds.scan - self.scan_budget)
        self.scan_budget = self.thresholds.scan

    def may_scan(self, wanted: int) -> int:
        """Return how many of `wanted` entries may be scanned.

        The caller subtracts what it has scanned from the budget.
        """
        return max(0, min(wanted, self.scan_budget))

    def check_open(self) -> None:
        """Raise `paused` (503) while the operator has paused this broker."""
        if self.paused:
            raise FanmailError("paused", "the operator has paused this broker: it serves only what it has")

    def check_storage(self, size: int, rows: int = 1) -> None:
        """Raise `storage-full` (503) where content of this size would leave less than the disk's reserve."""
        if on_disk(size, rows) > self.writable_bytes:
            raise FanmailError("storage-full", "the broker's disk or log is nearly full; reading messages frees space")

    def reserve(self, size: int, rows: int = 1) -> None:
        """Subtract content of this size from what may be written in this turn."""
        self.writable_bytes -= on_disk(size, rows)

    def next_seq(self, name: bytes) -> int:
        """Return the number of the next message of a topic; 0 where there is no topic."""
        topic = self.state.topics.get(name)
        return 0 if topic is None else topic.next_seq

    def emit(self, record: Record) -> None:
        """Apply a record to the state and keep it for the store. Raise `MisfitError`, which ends the broker."""
        self.changed = True
        self.state.apply(record)
        self.records.append(record)

    def with_content(self, topic: Topic, piece: Piece) -> Piece | None:
        """Return the piece with its content. Raise `StoreError`.

        Returns None for one that is damaged: it is set aside for all readers, and the next piece can be delivered.
        """
        try:
            return self.state.bodies.with_content(piece)
        except DamagedError as error:
            self.set_aside(f"{topic.epoch}-{piece.first}", piece.count, str(error))
            self.emit(PieceDamaged(topic.name, piece.first))
            return None

    def set_aside(self, message: str, count: int, reason: str) -> None:
        """Count and log damaged messages, which nobody receives; `message` is the id of the first."""
        self.counters[stats.DROPPED("damaged")] += count
        about = {"id": message, "count": count, "reason": reason}
        log.error("a stored message is damaged and set aside", extra=about)

    def may_cut(self) -> None:
        """Note that what was emitted so far may be stored without what follows: a request ends, or a step of one."""
        if self.cuts is not None and self.records:
            self.cuts.append(len(self.records))

    def take_cuts(self) -> Sequence[int]:
        """Return where the records may be cut; called before `take_records`."""
        if not self.cuts:
            return ()
        cuts, self.cuts = self.cuts, []
        return cuts

    def take_records(self) -> list[Record]:
        """Return the changes since the last call, in order, for one `store.begin`."""
        self.changed = False
        records = self.records + self.state.garbage.take_freed()
        self.records = []
        return records

    def move_head(self, topic: Topic, head: int, reason: str) -> None:
        """Drop and count the oldest messages of a topic, wanted or not; damaged ones are counted already."""
        self.counters[stats.DROPPED(reason)] += head - topic.head_seq - topic.damaged_between(topic.head_seq, head)
        self.emit(HeadMoved(topic.name, head))

    def end_subscription(self, topic: Topic, user: bytes) -> None:
        """End a subscription and drop its unread messages; the topic ends with its last subscription."""
        self.emit(SubscriptionEnded(topic.name, user))
        if not topic.subscriptions:
            self.emit(TopicEnded(topic.name))


class SubscriptionRef(Struct, gc=False):
    """One user's subscription to one topic, as an operation finds it."""

    context: Context
    topic: Topic
    user: bytes
    subscription: Subscription

    def emit(self, kind: type[Record], *fields: object) -> None:
        """Emit a record about this subscription."""
        self.context.emit(kind(self.topic.name, self.user, *fields))  # type: ignore[call-arg, arg-type]


def lookup(context: Context, topic_name: bytes, user: bytes) -> SubscriptionRef | None:
    """Return a user's subscription to a topic, None where there is none."""
    topic = context.state.topics.get(topic_name)
    if topic is None:
        return None
    subscription = topic.subscriptions.get(user)
    return None if subscription is None else SubscriptionRef(context, topic, user, subscription)


def find(context: Context, request: Request) -> SubscriptionRef:
    """Return the subscription that a request names; its idle time continues. Raise `no-subscription` (404)."""
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
