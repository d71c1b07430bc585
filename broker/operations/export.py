"""What is in a slot, as records, and packed in parts.

The order is almost that of `load()` (`broker/records.py`), but readers enter a log before its messages and move to
their places after what they hold: so each beginning of the list is a state that a store keeps as it is, and no message
of it is without a reader. A candidate that is restarted in between has the same state as the others.

The slot is frozen. Only ceilings of the whole broker may take something from its topics meanwhile (keys, dead letters);
what was packed before stays packed. What was copied before is not sent again (`broker/operations/copying.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from broker import records
from broker.operations.context import Context
from broker.operations.copying import HOLDER, CopiedLog, forget
from broker.operations.packing import Packer, Part, encode_record, piece_record
from broker.records import Record
from broker.state.delivery_state import DeliveryState
from broker.state.piece import MESSAGE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic import Topic

Copied = Mapping[bytes, CopiedLog]
"""What the target has of the logs, by topic."""
_NOTHING: Copied = {}


class Size(NamedTuple):
    """What is in a slot."""

    topics: int
    subscriptions: int
    messages: int
    bytes: int
    """Of content."""


def size_of(context: Context, slot: int) -> Size:
    """Return what is in a slot."""
    state = context.state
    topics = [state.topics[name] for name in state.slots.names.get(slot, ()) if name in state.topics]
    return Size(
        len(topics),
        sum(len(each.subscriptions) for each in topics),
        sum(each.messages for each in topics),
        sum(each.bytes for each in topics),
    )


def memory_of(context: Context, slot: int) -> tuple[int, int]:
    """Return the estimated bytes of memory of a slot without the content of its log, and of them of dead letters."""
    state, size = context.state, size_of(context, slot)
    memory = size.topics * TOPIC_COST + size.subscriptions * SUBSCRIPTION_COST + size.messages * MESSAGE_COST
    dead = 0
    for name in state.slots.names.get(slot, ()):
        dead += state.delivery_totals.dead.topics.of(name)
        memory += state.delivery_totals.held.of(name) + state.delayed.usage.of(name) + state.keys.weight_of(name)
    return memory + dead, dead


def parts_of(context: Context, slot: int, copied: Copied = _NOTHING) -> Iterator[Part]:
    """Yield what is in a slot and was not copied, in parts; at least one, which may be empty. Raise `StoreError`."""
    packer = Packer(context.thresholds.part_bytes, context.thresholds.part_records)
    for record in records_of(context, slot, copied):
        encoded = encode_record(record)
        if not packer.has_room(len(encoded)):
            yield packer.take()
        packer.add_encoded(encoded)
    yield packer.take(last=True)


def records_of(context: Context, slot: int, copied: Copied = _NOTHING) -> Iterator[Record]:
    """Yield the records that rebuild the topics of a slot, with all contents that were not copied."""
    state = context.state
    for name in sorted({*state.slots.names.get(slot, ()), *copied}):
        topic, log = state.topics.get(name), copied.get(name)
        if log is not None and not log.continues(topic):
            yield from forget(name)
            log = None
        if topic is not None:
            yield from _topic(context, topic, log)
        for key, known in state.keys.of(name):
            yield records.KeyRemembered(
                name, key, known.digest, known.at_us, known.subscribers, known.seq, known.due_ms
            )
        for number in list(state.delayed.topics[name].after(0)) if name in state.delayed.topics else ():
            yield state.delayed.publishes[number]


def _topic(context: Context, topic: Topic, log: CopiedLog | None) -> Iterator[Record]:
    name, head = topic.name, topic.head_seq
    if log is None:
        yield records.TopicBegan(name, topic.number, head, topic.epoch)
    elif head > log.head:
        yield records.HeadMoved(name, head)
    if topic.changed is not None:
        yield topic.changed
    users, first = list(topic.subscriptions.items()), log.next_seq if log is not None else head
    for user, subscription in users:
        yield records.SubscriptionSet(name, user, min(subscription.position, head))
    for piece in topic.pieces(first) if first < topic.next_seq else ():
        yield piece_record(context, topic, piece)
    for user, subscription in users:
        if subscription.delivery is not None:
            yield from _user(name, user, subscription.delivery)
    for user, subscription in users:
        if subscription.position > head:
            yield records.SubscriptionSet(name, user, subscription.position)
    if log is not None:
        yield records.SubscriptionEnded(name, HOLDER)


def _user(name: bytes, user: bytes, delivery: DeliveryState) -> Iterator[Record]:
    if delivery.expires_after or delivery.max_deliveries:
        yield records.SettingsSet(name, user, delivery.expires_after, delivery.max_deliveries)
    held = list(delivery.leases.held.items())
    for letter in (*delivery.dead.letters.values(), *(each.letter for _, each in held)):
        if letter is not None:
            yield records.DeadLettered(name, user, letter)
    back = tuple(seq for seq, each in held if each.letter is not None)
    if back:
        yield records.DeadReturned(name, user, back)
    for seq, each in held:
        if each.letter is not None and each.attempt == each.letter.attempt and not each.until_us and not each.due_us:
            continue  # put back, and not delivered since
        yield records.Leased(name, user, seq, 1, each.attempt, each.until_us or 1)
        if not each.until_us:
            yield records.Returned(name, user, (seq,), each.due_us)
