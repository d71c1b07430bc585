"""The operator's operations on one subscription. None of them restarts its idle clock."""

from __future__ import annotations

from itertools import islice

from broker.operations.admin_topics import user_row
from broker.operations.context import Context, SubscriptionRef, find
from broker.operations.leasing import forget_lost
from broker.records import Finished, SubscriptionSet
from broker.state.leases import HeldEntry
from common.clock import Now
from common.protocol import ops, stats
from common.protocol.wire import Request


def describe_user(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.UserRow:
    """Return the subscription's status."""
    ref = find(context, request)
    return user_row(ref.topic, ref.user, ref.subscription, now)


def peek_messages(context: Context, request: Request, args: ops.Peek, now: Now) -> ops.PeekedAll:
    """Return messages that are not done: first those handed out under a lease, then new ones. Takes nothing.

    Scans no more than the turn allows.
    """
    ref = find(context, request)
    found = _held(ref, args.max)
    room = args.max_bytes
    shown: list[ops.Peeked] = []
    for each in (*found, *_fresh(ref, args.max - len(found), now)):
        if shown and len(each.body) > room:
            break
        room -= len(each.body)
        shown.append(each)
    return ops.PeekedAll(ref.topic.epoch, shown)


def purge(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Counted:
    """Drop all messages of the user, the leased ones too; return their number.

    Dead letters stay. Messages that the topic has dropped before are not counted.
    """
    ref = find(context, request)
    topic, delivery = ref.topic, ref.subscription.delivery
    if delivery is not None and delivery.leases.open:
        delivery.last_call = now.mono  # the idle clock was stopped
    forget_lost(ref)
    held = tuple(delivery.leases.held) if delivery else ()
    start = max(ref.subscription.position, topic.head_seq)
    context.counters[stats.SKIPPED_LOST] += start - ref.subscription.position
    count = topic.next_seq - start + len(held)
    if held:
        ref.emit(Finished, held)
    if ref.subscription.position != topic.next_seq:
        ref.emit(SubscriptionSet, topic.next_seq)
    context.counters[stats.DROPPED("purged")] += count
    return ops.Counted(count)


def _held(ref: SubscriptionRef, most: int) -> list[ops.Peeked]:
    delivery = ref.subscription.delivery
    if delivery is None:
        return []
    held = delivery.leases.held
    seqs = sorted(islice(held, ref.context.may_scan(len(held))))
    ref.context.scan_budget -= len(seqs)
    there = [seq for seq in seqs if held[seq].letter is not None or seq >= ref.topic.head_seq]
    peeked = (_peeked(ref, seq, held[seq]) for seq in there[: max(0, most)])
    return [each for each in peeked if each is not None]


def _peeked(ref: SubscriptionRef, seq: int, held: HeldEntry) -> ops.Peeked | None:
    state = "leased" if held.until_us else "returned"
    letter = held.letter
    if letter is not None:
        return ops.Peeked(seq, letter.time, held.attempt, state, letter.headers, letter.body)
    piece = ref.context.with_content(ref.topic, ref.topic.piece(seq))
    if piece is None:
        return None
    return ops.Peeked(seq, piece.time, held.attempt, state, piece.headers, piece.single(seq))


def _fresh(ref: SubscriptionRef, most: int, now: Now) -> list[ops.Peeked]:
    topic = ref.topic
    position = max(ref.subscription.position, topic.head_seq)
    found: list[ops.Peeked] = []
    while position < topic.next_seq and len(found) < most and ref.context.may_scan(1):
        ref.context.scan_budget -= 1
        piece = topic.piece(position)
        if piece.expires and piece.expires <= now.time:
            position = piece.end
            continue
        whole = ref.context.with_content(topic, piece)
        if whole is None:
            position = piece.end
            continue
        found.append(ops.Peeked(position, piece.time, 0, "waiting", whole.headers, whole.single(position)))
        position += 1
    return found
