"""What may still be leased: the ceilings of one user, and the share of its topic in what a broker may hold."""

from __future__ import annotations

from broker.operations.context import Mailbox
from broker.state.leases import HELD_COST, LETTER_COST, Leases
from common.errors import FanmailError


def room_left(box: Mailbox, position: int | None = None) -> int:
    """How many messages may be leased; from `position` on where it is given."""
    limits, leases = box.context.limits, _leases(box)
    left = limits.leases - (leases.open if leases else 0)
    if position is not None:
        oldest = leases.oldest() if leases else None
        left = min(left, (position if oldest is None else oldest) + limits.lease_window + 1 - position)
        left = min(left, limits.room_to_hold(box.context.state, box.topic.name, HELD_COST))
    return max(0, left)


def check_room(box: Mailbox, position: int | None = None) -> None:
    """Raises `too-many-leases` (429) where nothing more may be leased."""
    if room_left(box, position):
        return
    limits, leases = box.context.limits, _leases(box)
    if leases is not None and leases.open >= limits.leases:
        detail = f"{limits.leases} messages of this user are leased, the ceiling"
    elif not limits.room_to_hold(box.context.state, box.topic.name, HELD_COST):
        detail = _no_share(box)
    else:
        oldest = leases.oldest() if leases else None
        detail = f"message {oldest} is not done; at most {limits.lease_window} messages beyond it are leased"
    raise FanmailError("too-many-leases", detail)


def fitting(box: Mailbox, seqs: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the user's dead letters, from the first on, that may be put back: they are held then. Raises
    `too-many-leases` (429) where there are some and none may.
    """
    context, ledger = box.context, box.subscription.ledger
    if not seqs or ledger is None:
        return ()
    weights = [ledger.dead.letters[seq].size + LETTER_COST + HELD_COST for seq in seqs]
    left = context.limits.room_to_hold(context.state, box.topic.name, 1)
    most = 0
    while most < len(seqs) and weights[most] <= left:
        left -= weights[most]
        most += 1
    most = most or context.limits.room_to_hold(context.state, box.topic.name, weights[0])
    if not most:
        raise FanmailError("too-many-leases", _no_share(box))
    return seqs[:most]


def _no_share(box: Mailbox) -> str:
    limits, held = box.context.limits, box.context.state.ledgers.held
    return (
        f"what is held under leases of this topic takes {held.of(box.topic.name)} bytes, of all topics {held.total}; "
        f"its share is {limits.topic_share} % of what other topics leave of {limits.held_memory}"
    )


def _leases(box: Mailbox) -> Leases | None:
    ledger = box.subscription.ledger
    return ledger.leases if ledger else None
