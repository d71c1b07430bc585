"""What is in a slot, as records, and packed in parts.

The order is almost that of `load()` (`broker/records.py`), but readers enter a log before its messages and move to
their places after what they hold: so each beginning of the list is a state that a store keeps as it is, and no message
of it is without a reader. A candidate that is restarted in between has the same state as the others.

The slot is frozen. Only ceilings of the whole broker may take something from its topics meanwhile (keys, dead letters);
what was packed before stays packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Raw

from broker import records
from broker.operations.context import Context
from broker.records import Payload, Record
from broker.state.delivery_state import DeliveryState
from broker.state.piece import DAMAGED, MESSAGE_COST, Piece
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic import Topic

_encode = msgspec.msgpack.Encoder().encode


class Part(NamedTuple):
    """Some of the records of a slot."""

    body: bytes
    """MessagePack of the list of them."""
    records: int
    last: bool


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


def parts_of(context: Context, slot: int) -> Iterator[Part]:
    """Yield what is in a slot in parts; at least one, which may be empty."""
    most_bytes, most = context.thresholds.part_bytes, context.thresholds.part_records
    packed: list[Raw] = []
    size = 0
    for record in records_of(context, slot):
        encoded = _encode(record)
        if packed and (size + len(encoded) > most_bytes or len(packed) >= most):
            yield Part(_encode(packed), len(packed), last=False)
            packed, size = [], 0
        packed.append(Raw(encoded))
        size += len(encoded)
    yield Part(_encode(packed), len(packed), last=True)


def records_of(context: Context, slot: int) -> Iterator[Record]:
    """Yield the records that rebuild the topics of a slot, with all contents."""
    state = context.state
    for name in sorted(state.slots.names.get(slot, ())):
        topic = state.topics.get(name)
        if topic is not None:
            yield from _topic(context, topic)
        for key, known in state.keys.of(name):
            yield records.KeyRemembered(
                name, key, known.digest, known.at_us, known.subscribers, known.seq, known.due_ms
            )
        for number in list(state.delayed.topics[name].after(0)) if name in state.delayed.topics else ():
            yield state.delayed.publishes[number]


def _topic(context: Context, topic: Topic) -> Iterator[Record]:
    yield records.TopicBegan(topic.name, topic.number, topic.head_seq, topic.epoch)
    if topic.changed is not None:
        yield topic.changed
    users, head = list(topic.subscriptions.items()), topic.head_seq
    for user, subscription in users:
        yield records.SubscriptionSet(topic.name, user, min(subscription.position, head))
    for piece in topic.pieces(head) if topic.messages else ():
        yield _piece(context, topic, piece)
    for user, subscription in users:
        if subscription.delivery is not None:
            yield from _user(topic.name, user, subscription.delivery)
    for user, subscription in users:
        if subscription.position > head:
            yield records.SubscriptionSet(topic.name, user, subscription.position)


def _piece(context: Context, topic: Topic, piece: Piece) -> records.MessageStored:
    whole = None if piece.damaged else context.with_content(topic, piece)
    if whole is None:  # its numbers go along, so that those of the others stay
        return records.MessageStored(topic.name, piece.first, piece.time, Payload(b"", b"", piece.count), DAMAGED)
    body = whole.body
    assert body is not None
    payload = Payload(whole.headers, body, piece.count, whole.offsets)
    return records.MessageStored(topic.name, piece.first, piece.time, payload, piece.expires)


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
