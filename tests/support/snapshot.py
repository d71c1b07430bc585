"""All contents of a state as plain values, and its gauges recounted from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec.structs import astuple

from broker.records import DeadLetter
from broker.state.blocks import NEVER
from broker.state.delayed import DELAYED_COST, weight_of
from broker.state.delivery_state import DELIVERY_STATE_COST, DeliveryState
from broker.state.idempotency import KEY_COST, key_weight
from broker.state.leases import DEAD_LETTER_COST, HELD_COST, Leases
from broker.state.name_index import in_order
from broker.state.oldest import SECOND_MS
from broker.state.piece import MESSAGE_COST, Piece
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST, State
from broker.state.subscription import Subscription
from broker.state.topic import Topic


def snapshot(state: State, whole: Callable[[Piece], Piece] | None = None) -> dict[str, Any]:
    """Return the contents of a state. Two states are equal if their snapshots are, whatever the layout of their lists.

    With `whole`, pieces include their content.
    """
    whole = whole or state.bodies.with_content
    return {
        "store_id": state.store_id,
        "topics_begun": state.topics_begun,
        "gauges": gauges(state),
        "topics": {name: topic_snapshot(topic, whole) for name, topic in state.topics.items()},
        "keys": keys_of(state),
        "slots": slots_of(state),
        "calendar": state.calendar.steps,
        "delayed": [astuple(each) for _, each in sorted(state.delayed.publishes.items())],
    }


def slots_of(state: State) -> dict[str, Any]:
    """Return what a broker owns, and what comes and goes."""
    slots = state.slots
    plain = {name: dict(getattr(slots, name)) for name in ("epochs", "leaving", "left", "coming", "seen")}
    served = bytes(slots.served) if slots.known else b"as described"
    return {"known": slots.known, "unproven": slots.unproven, "served": served, **plain}


def topic_snapshot(topic: Topic, whole: Callable[[Piece], Piece] = lambda piece: piece) -> dict[str, Any]:
    """Return the contents of a topic. With `whole`, pieces include their body."""
    return {
        "number": topic.number,
        "changed": None if topic.changed is None else astuple(topic.changed),
        "epoch": topic.epoch,
        "next_seq": topic.next_seq,
        "head_seq": topic.head_seq,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "ttls": topic.ttls,
        "tail_readers": topic.tail_readers,
        "pieces": [astuple(whole(piece)) for piece in pieces_of(topic)],
        "positions": {user: each.position for user, each in topic.subscriptions.items()},
        "deliveries": {
            user: delivery_snapshot(each.delivery) for user, each in topic.subscriptions.items() if each.delivery
        },
    }


def delivery_snapshot(delivery: DeliveryState) -> dict[str, Any]:
    leases = delivery.leases
    return {
        "expires_after": delivery.expires_after,
        "max_deliveries": delivery.max_deliveries,
        "held": {seq: (*astuple(held)[:3], _plain(held.letter)) for seq, held in sorted(leases.held.items())},
        "deadlines": deadlines_of(leases),
        "open": leases.open,
        "waiting": leases.waiting,
        "oldest": leases.oldest(),
        "next_ready": leases.next_ready(),
        "dead": [_plain(letter) for letter in delivery.dead.letters.values()],
        "dead_bytes": delivery.dead.bytes,
        "weight": delivery.weight,
    }


def deadlines_of(leases: Leases) -> dict[int, int]:
    """Return when leases and delays end, by sequence number."""
    ends: dict[int, int] = {}
    for due_us, found in leases.deadlines._messages.items():
        ends |= dict.fromkeys(found if isinstance(found, dict) else () if found is None else (found,), due_us)
    return dict(sorted(ends.items()))


def pieces_of(topic: Topic) -> list[Piece]:
    """Return the stored pieces, in order."""
    return list(topic.pieces(topic.head_seq)) if topic.messages else []


def keys_of(state: State) -> list[tuple[Any, ...]]:
    """Return idempotency keys with what is remembered of them, oldest first."""
    return [(named.topic, named.key, *astuple(kept)) for named, kept in state.keys]


def delivery_states_of(state: State) -> list[DeliveryState]:
    """Return the delivery states of all users who have one."""
    users = (each for topic in state.topics.values() for each in topic.subscriptions.values())
    return [each.delivery for each in users if each.delivery is not None]


def gauges(state: State) -> dict[str, int]:
    """Return the gauges that the state maintains."""
    return {
        "subscriptions": state.subscriptions,
        "messages": state.messages,
        "pieces": state.pieces,
        "content_bytes": state.content_bytes,
        "name_bytes": state.name_bytes,
        "delivery_bytes": state.delivery_totals.bytes,
        "open_leases": state.delivery_totals.open_leases,
        "dead_letters": state.delivery_totals.dead_letters,
        "dead_bytes": state.delivery_totals.dead_bytes,
        "keys": len(state.keys),
        "key_bytes": state.keys.weight,
        "delayed": len(state.delayed),
        "delayed_bytes": state.delayed.weight,
        "memory": state.memory - state.garbage.memory + state.bodies.away_bytes,
    }


def counted(state: State) -> dict[str, int]:
    """Return the same gauges, recounted."""
    topics, deliveries, keys = list(state.topics.values()), delivery_states_of(state), keys_of(state)
    pieces = [state.bodies.with_content(piece) for topic in topics for piece in pieces_of(topic)]
    held = [held for delivery in deliveries for held in delivery.leases.held.values()]
    dead = [letter for delivery in deliveries for letter in delivery.dead.letters.values()]
    letters = dead + [each.letter for each in held if each.letter is not None]
    delayed = list(state.delayed.publishes.values())
    values = {
        "subscriptions": sum(len(topic.subscriptions) for topic in topics),
        "messages": sum(piece.count for piece in pieces),
        "pieces": len(pieces),
        "content_bytes": sum(len(each.headers) + len(each.body or b"") + len(each.offsets) for each in pieces),
        "name_bytes": sum(len(name) + sum(map(len, topic.subscriptions)) for name, topic in state.topics.items()),
        "delivery_bytes": sum(len(each.headers) + len(each.body) + DEAD_LETTER_COST for each in letters)
        + len(held) * HELD_COST
        + len(deliveries) * DELIVERY_STATE_COST,
        "open_leases": sum(each.until_us > 0 for each in held),
        "dead_letters": len(dead),
        "dead_bytes": sum(len(each.headers) + len(each.body) for each in dead),
        "keys": len(keys),
        "key_bytes": sum(KEY_COST + len(topic) + len(key) for topic, key, *_ in keys),
        "delayed": len(delayed),
        "delayed_bytes": sum(DELAYED_COST + len(each.topic) + each.payload.size for each in delayed),
    }
    costs = values["pieces"] * MESSAGE_COST + values["subscriptions"] * SUBSCRIPTION_COST + len(topics) * TOPIC_COST
    weights = ("content_bytes", "name_bytes", "delivery_bytes", "key_bytes", "delayed_bytes")
    return values | {"memory": costs + sum(values[each] for each in weights)}


def check_state(state: State) -> None:
    """Assert what must hold in every state between two requests."""
    assert gauges(state) == counted(state)
    pieces = [piece for topic in state.topics.values() for piece in pieces_of(topic)]
    garbage = [piece for block in state.garbage._blocks for piece in block.pieces]
    assert (state.garbage.pieces, state.garbage.bytes) == (len(garbage), sum(piece.size for piece in garbage))
    assert state.garbage.seconds == Counter(piece.time // SECOND_MS for piece in pieces + garbage)
    assert list(in_order(state.index, state.topics, b"")) == sorted(state.topics)
    for name, topic in state.topics.items():
        assert name == topic.name
        assert list(in_order(topic.index, topic.subscriptions, b"")) == sorted(topic.subscriptions)
        assert topic.subscriptions, "a topic without subscriptions leaves nothing behind"
        _check_log(topic)
        deadline = topic.head_deadline
        assert deadline is None or _in_time(state.heads_due.get(name), deadline)
        for user, subscription in topic.subscriptions.items():
            delivery = subscription.delivery
            if delivery is not None:
                _check_delivery(topic, subscription, delivery)
                first = delivery.leases.deadlines.next_due()
                assert first is None or _in_time(state.leases_due.get((name, user)), first)
                assert (state.idle_due.get((name, user)) is not None) == (delivery.expires_after > 0)
    for number, publish in state.delayed.publishes.items():
        assert publish.number == number <= state.delayed.last_number
        assert state.delayed.due.get(number) is not None
    named = [each for each, _ in state.keys]
    assert len(state.keys) == len(named) == sum(map(state.keys.count, {each.topic for each in named}))
    assert state.keys.oldest() == next(iter(named), None)
    _check_shares(state)


def _check_shares(state: State) -> None:
    """Assert the shares of what all topics share."""
    held, dead, keys, delayed = (Counter[bytes]() for _ in range(4))
    for name, topic in state.topics.items():
        users = Counter[bytes]()
        for user, subscription in topic.subscriptions.items():
            if subscription.delivery is not None:
                held[name] += subscription.delivery.held_weight
                users[user] += subscription.delivery.dead.weight
        dead[name] = users.total()
        assert not dead[name] or state.delivery_totals.dead._users[name]._of == +users
    for named, _ in state.keys:
        keys[named.topic] += key_weight(*named)
    for publish in state.delayed.publishes.values():
        delayed[publish.topic] += weight_of(publish)
        assert publish.number in state.delayed.topics[publish.topic].after(publish.number - 1)
    assert list(state.delayed.names.after(b"")) == sorted(delayed)
    assert sum(map(state.delayed.count, delayed)) == len(state.delayed)
    for shares, wanted in (
        *((state.delivery_totals.held, held), (state.delivery_totals.dead.topics, dead)),
        *((state.keys._usage, keys), (state.delayed.usage, delayed)),
    ):
        assert (shares._of, shares.total) == (+wanted, wanted.total())
    if state.delivery_totals.dead.topics.total:
        assert state.delivery_totals.dead.topics.of(state.delivery_totals.dead.heaviest()[0]) == max(dead.values())


def _check_log(topic: Topic) -> None:
    pieces = pieces_of(topic)
    places = [max(_floor(each), topic.head_seq) for each in topic.subscriptions.values()]
    assert topic.next_seq == topic.head_seq + sum(piece.count for piece in pieces)
    assert topic.tail_readers == places.count(topic.next_seq)
    for piece in pieces:
        assert piece.readers == sum(piece.first <= place < piece.end for place in places)
    assert not pieces or pieces[0].readers, "stored is what somebody wants, up to the tail"
    assert topic.bytes == sum(piece.size for piece in pieces)
    assert topic.ttls == sum(piece.expires > 0 for piece in pieces)
    assert topic.pieces_stored == len(pieces)
    for number, block in enumerate(topic._blocks):
        live = [piece for piece in block.pieces if piece.count]
        assert live, "no block is empty"
        assert block.readers == sum(piece.readers for piece in live)
        assert block.latest >= max(piece.expires or NEVER for piece in live)
        assert block.damaged == sum(piece.count for piece in live if piece.damaged)
        before = [piece for each in topic._blocks[:number] for piece in each.pieces]
        if number:
            assert block.bytes_before == topic._bytes_gone + sum(piece.size for piece in before)
            assert block.ttls_before == topic._ttls_gone + sum(piece.expires > 0 for piece in before)
    assert all(len(block.pieces) == topic.thresholds.log_block for block in topic._blocks[1:-1])


def _check_delivery(topic: Topic, subscription: Subscription, delivery: DeliveryState) -> None:
    leases = delivery.leases
    assert leases.held or delivery.dead.letters or delivery.expires_after or delivery.max_deliveries, (
        "else there is none"
    )
    assert subscription.position <= topic.next_seq
    assert subscription.floor == _floor(subscription)
    assert leases.open == sum(each.until_us > 0 for each in leases.held.values())
    ready = [seq for seq, each in leases.held.items() if not each.until_us and not each.due_us]
    assert leases.waiting == len(ready)
    assert leases.next_ready() == min(ready, default=None)
    assert not leases.held.keys() & delivery.dead.letters.keys()
    ends = {seq: each.until_us or each.due_us for seq, each in leases.held.items()}
    assert deadlines_of(leases) == {seq: end for seq, end in ends.items() if end}
    for seq, held in leases.held.items():
        assert 0 < seq < subscription.position, "delivered before"
        assert not (held.until_us and held.due_us)
        assert held.attempt > 0 or held.letter is not None
    for seq, letter in delivery.dead.letters.items():
        assert 0 < letter.seq == seq < subscription.position


def _floor(subscription: Subscription) -> int:
    """Return the first unacknowledged message of the log."""
    held = subscription.delivery.leases.held if subscription.delivery else {}
    return min([subscription.position, *(seq for seq, each in held.items() if each.letter is None)])


def _in_time(due: int | None, deadline: int) -> bool:
    return due is not None and due <= deadline


def _plain(letter: DeadLetter | None) -> tuple[Any, ...] | None:
    return None if letter is None else astuple(letter)
