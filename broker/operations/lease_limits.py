"""How much may still be leased: the ceilings of one user, and the topic's share of the broker's memory for leases."""

from __future__ import annotations

from broker.operations.context import SubscriptionRef
from broker.state.leases import DEAD_LETTER_COST, HELD_COST, Leases
from common.errors import FanmailError


def room_left(ref: SubscriptionRef, position: int | None = None) -> int:
    """Return how many messages may be leased; with `position`, how many new ones from there on."""
    limits, leases = ref.context.limits, _leases(ref)
    left = limits.leases - (leases.open if leases else 0)
    if position is not None:
        oldest = leases.oldest() if leases else None
        left = min(left, (position if oldest is None else oldest) + limits.lease_window + 1 - position)
        left = min(left, limits.room_to_hold(ref.context.state, ref.topic.name, HELD_COST))
    return max(0, left)


def check_room(ref: SubscriptionRef, position: int | None = None) -> None:
    """Raise `too-many-leases` (429) where nothing more may be leased."""
    if room_left(ref, position):
        return
    limits, leases = ref.context.limits, _leases(ref)
    if leases is not None and leases.open >= limits.leases:
        detail = f"this user has {limits.leases} leased messages, the ceiling"
    elif not limits.room_to_hold(ref.context.state, ref.topic.name, HELD_COST):
        detail = _no_share(ref)
    else:
        oldest = leases.oldest() if leases else None
        detail = f"message {oldest} is not done; at most {limits.lease_window} messages after it may be leased"
    raise FanmailError("too-many-leases", detail)


def affordable(ref: SubscriptionRef, seqs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the dead letters, from the first on, that may be held again.

    Raises `too-many-leases` (429) where there are some and none may.
    """
    context, delivery = ref.context, ref.subscription.delivery
    if not seqs or delivery is None:
        return ()
    weights = [delivery.dead.letters[seq].size + DEAD_LETTER_COST + HELD_COST for seq in seqs]
    left = context.limits.room_to_hold(context.state, ref.topic.name, 1)
    most = 0
    while most < len(seqs) and weights[most] <= left:
        left -= weights[most]
        most += 1
    most = most or context.limits.room_to_hold(context.state, ref.topic.name, weights[0])
    if not most:
        raise FanmailError("too-many-leases", _no_share(ref))
    return seqs[:most]


def _no_share(ref: SubscriptionRef) -> str:
    limits, held = ref.context.limits, ref.context.state.delivery_totals.held
    return (
        f"leases of this topic take {held.of(ref.topic.name)} bytes of memory, those of all topics {held.total}; "
        f"its share is {limits.topic_share} % of what other topics leave of {limits.held_memory}"
    )


def _leases(ref: SubscriptionRef) -> Leases | None:
    delivery = ref.subscription.delivery
    return delivery.leases if delivery else None
