"""Leases: delivery, redelivery, and dead letters for what is delivered too often."""

from __future__ import annotations

from typing import NamedTuple

from broker.operations.context import Context, SubscriptionRef
from broker.operations.lease_limits import check_room, room_left
from broker.operations.limits import on_disk
from broker.records import DeadEnded, DeadLetter, DeadLettered, Finished, Leased, Returned, SubscriptionSet
from broker.state.leases import Leases
from broker.state.piece import frame
from broker.state.runs import Budget, cut_runs, join_runs
from common.clock import Now
from common.protocol import ops, stats

RETRY_US = 1_000_000
"""Microseconds until a message is dead-lettered again for which the disk had no room."""

MOST_DROPPED = 16
"""Letters that a new one drops beyond its own size, where all together exceed their ceiling."""


class Redelivery(NamedTuple):
    """A message to redeliver, with its content."""

    seq: int
    attempt: int
    time: int
    headers: bytes
    body: bytes
    expires: int


def next_position(ref: SubscriptionRef, now: Now) -> int:
    """Return the first new message that may be delivered; skip for good what has expired before it."""
    position = ref.subscription.position
    if position >= ref.topic.head_seq and not ref.topic.ttls:
        return position
    start = max(position, ref.topic.head_seq)
    found = ref.topic.next_unexpired(start, now.time)
    if found != start:
        damaged = ref.topic.damaged_between(start, found)
        ref.context.counters[stats.SKIPPED_DAMAGED] += damaged
        ref.context.counters[stats.SKIPPED_TTL] += found - start - damaged
    ref.context.counters[stats.SKIPPED_LOST] += start - position
    if found != position:
        ref.emit(SubscriptionSet, found)
    return found


def take_returned(ref: SubscriptionRef, now: Now) -> ops.Message | None:
    """Take a message that was leased before; it is delivered at most once now."""
    held = next_returned(ref, now)
    if held is None:
        return None
    ref.emit(Finished, (held.seq,))
    return _message(ref, held, 1)


def take_many_returned(ref: SubscriptionRef, budget: Budget, now: Now) -> list[ops.Run]:
    """Take several of them, and spend the budget; in one run only those with consecutive numbers."""
    runs: list[ops.Run] = []
    while budget.messages > 0 and (held := next_returned(ref, now)) is not None:
        run = ops.Run(held.seq, 1, held.time, held.headers, frame(held.body))
        apart = runs and (run.first != runs[-1].first + 1 or run.headers != runs[0].headers)
        if runs and (not budget.allows(run) or (budget.one_run and apart)):
            break
        ref.emit(Finished, (held.seq,))
        ref.context.may_cut()
        runs.append(run)
        budget.spend(run)
    return [join_runs(runs)] if budget.one_run and len(runs) > 1 else runs


def lease_next(ref: SubscriptionRef, lease: int, now: Now) -> ops.Message | None:
    """Lease one message for `lease` microseconds; None where none waits.

    Raises `too-many-leases` (429) where one waits and none may be leased.
    """
    held = next_returned(ref, now)
    if held is not None:
        check_room(ref)
        ref.emit(Leased, held.seq, 1, held.attempt + 1, now.mono + lease)
        return _message(ref, held, held.attempt + 1)
    piece = None
    while piece is None:
        position = next_position(ref, now)
        if position == ref.topic.next_seq:
            return None
        check_room(ref, position)
        piece = ref.context.with_content(ref.topic, ref.topic.piece(position))
    _lease_fresh(ref, position, 1, now.mono + lease)
    message = Redelivery(position, 1, piece.time, piece.headers, piece.single(position), piece.expires)
    return _message(ref, message, 1)


def lease_many(ref: SubscriptionRef, args: ops.Fetch, now: Now) -> list[ops.Run]:
    """Lease several messages, redeliveries first. Raise as `lease_next` does."""
    until, budget = now.mono + args.lease, Budget(args.max, args.max_bytes, args.max_bytes)
    runs: list[ops.Run] = []
    while budget.messages > 0 and (held := next_returned(ref, now)) is not None:
        run = ops.Run(held.seq, 1, held.time, held.headers, frame(held.body), held.attempt + 1)
        if runs and (not budget.allows(run) or not room_left(ref)):
            return runs
        check_room(ref)
        ref.emit(Leased, held.seq, 1, run.attempt, until)
        ref.context.may_cut()
        runs.append(run)
        budget.spend(run)
    return runs + _lease_many_fresh(ref, budget, until, now, required=not runs) if budget.messages > 0 else runs


def _lease_many_fresh(ref: SubscriptionRef, budget: Budget, until: int, now: Now, *, required: bool) -> list[ops.Run]:
    """Lease new messages. Raise `too-many-leases` (429) only where one is `required`."""
    while (position := next_position(ref, now)) < ref.topic.next_seq:
        if required:
            check_room(ref, position)
        budget.messages = min(budget.messages, room_left(ref, position))
        if not budget.messages:
            break
        fresh = cut_runs(ref.topic, position, budget, now.time, ref.context.with_content, required=required)
        if fresh:
            _lease_fresh(ref, position, sum(run.count for run in fresh), until)
            return fresh
        if not ref.topic.piece(position).damaged:
            break
    return []


def first_returned(ref: SubscriptionRef, now: Now) -> int | None:
    """Return the sequence number of the next redelivery.

    Also None where this turn may not scan as many as it takes to find it. Changes nothing.
    """
    leases = _leases(ref)
    if leases is None or not leases.waiting:
        return None
    for seq in leases.ready():
        if _may_go_out(ref, seq, now):
            return seq
        if not ref.context.may_scan(1):
            return None
        ref.context.scan_budget -= 1
    return None


def forget_lost(ref: SubscriptionRef) -> None:
    """Stop holding messages that the topic has dropped."""
    leases = _leases(ref)
    lost = leases.below(ref.topic.head_seq) if leases else ()
    if lost:
        ref.context.counters[stats.SKIPPED_LOST] += len(lost)
        ref.emit(Finished, lost)


def release(ref: SubscriptionRef, seqs: list[int], due_us: int, now: Now) -> None:
    """End leases: the messages wait for redelivery from `due_us` on (0: now), or become dead letters."""
    delivery = ref.subscription.delivery
    assert delivery is not None
    most, leases = delivery.max_deliveries, delivery.leases
    dead = {seq: None for seq in seqs if most and leases.held[seq].deliveries >= most}
    for seq in dead:
        _dead_letter(ref, seq, now)
    again = tuple(seq for seq in seqs if seq not in dead) if dead else tuple(seqs)
    if again:
        ref.emit(Returned, again, due_us)
        if not due_us:
            ref.context.woken.append((ref.topic.name, ref.user))


def next_returned(ref: SubscriptionRef, now: Now) -> Redelivery | None:
    """Return the next redelivery; set aside what must not be delivered any more."""
    forget_lost(ref)
    while (leases := _leases(ref)) is not None and (seq := leases.next_ready()) is not None:
        expired = _expired(ref, leases, seq, now)
        if expired and leases.held[seq].letter is None:
            _pass_over(ref, leases, seq)
        elif expired or _delivered_enough(
            ref, leases.held[seq].deliveries
        ):  # a letter that was put back is dead-lettered again
            _dead_letter(ref, seq, now)
        elif (held := _held(ref, leases, seq)) is not None:
            return held
    return None


def _pass_over(ref: SubscriptionRef, leases: Leases, seq: int) -> None:
    """Stop holding a message that is expired or damaged, and count it."""
    damaged = leases.held[seq].letter is None and ref.topic.piece(seq).damaged
    ref.context.counters[stats.SKIPPED_DAMAGED if damaged else stats.SKIPPED_TTL] += 1
    ref.emit(Finished, (seq,))


def _may_go_out(ref: SubscriptionRef, seq: int, now: Now) -> bool:
    leases = _leases(ref)
    assert leases is not None
    if leases.held[seq].letter is None and seq < ref.topic.head_seq:
        return False
    return not _expired(ref, leases, seq, now) and not _delivered_enough(ref, leases.held[seq].deliveries)


def _expired(ref: SubscriptionRef, leases: Leases, seq: int, now: Now) -> bool:
    letter = leases.held[seq].letter
    expires = letter.expires if letter is not None else ref.topic.piece(seq).expires
    return 0 < expires <= now.time


def _delivered_enough(ref: SubscriptionRef, deliveries: int) -> bool:
    delivery = ref.subscription.delivery
    return delivery is not None and 0 < delivery.max_deliveries <= deliveries


def _leases(ref: SubscriptionRef) -> Leases | None:
    delivery = ref.subscription.delivery
    return delivery.leases if delivery else None


def _held(ref: SubscriptionRef, leases: Leases, seq: int) -> Redelivery | None:
    """Return a held message with its content; None where it is damaged, and then expired from now on."""
    held = leases.held[seq]
    letter = held.letter
    if letter is not None:
        return Redelivery(seq, held.attempt, letter.time, letter.headers, letter.body, letter.expires)
    piece = ref.context.with_content(ref.topic, ref.topic.piece(seq))
    if piece is None:
        return None
    return Redelivery(seq, held.attempt, piece.time, piece.headers, piece.single(seq), piece.expires)


def _message(ref: SubscriptionRef, held: Redelivery, attempt: int) -> ops.Message:
    pending = ref.topic.pending(ref.subscription)
    return ops.Message(ref.topic.epoch, held.seq, held.time, attempt, pending, held.headers, held.body)


def _lease_fresh(ref: SubscriptionRef, first: int, count: int, until: int) -> None:
    ref.emit(Leased, first, count, 1, until)  # first, so that the log is held while the position moves
    ref.emit(SubscriptionSet, first + count)


def _dead_letter(ref: SubscriptionRef, seq: int, now: Now) -> None:
    """Move a message that was delivered too often to the user's dead-letter list.

    A full list drops its oldest letters. Where the dead letters of all users take too much memory, the topic and user
    with the most drop theirs. While the disk is at its reserve, it is tried again later.
    """
    context, delivery = ref.context, ref.subscription.delivery
    assert delivery is not None
    held = _held(ref, delivery.leases, seq)
    if held is None:
        _pass_over(ref, delivery.leases, seq)
        return
    size = len(held.headers) + len(held.body)
    if on_disk(size) > context.writable_bytes:
        ref.emit(Returned, (seq,), now.mono + RETRY_US)
        return
    context.reserve(size)
    context.counters[stats.DEAD_LETTERED] += 1
    before = context.state.delivery_totals.dead.topics.total
    ref.emit(DeadLettered, DeadLetter(seq, held.time, held.attempt, held.headers, held.body, held.expires))
    dead, limits = delivery.dead, context.limits
    while dead.letters and (len(dead.letters) > limits.dead or dead.bytes > limits.dead_bytes):
        _drop_oldest(context, ref.topic.name, ref.user)
    _drop_heaviest(context, before)
    context.may_cut()


def _drop_heaviest(context: Context, before: int) -> None:
    """Drop letters of the heaviest until all fit their ceiling.

    Those of a slot that has come may exceed it by any amount: then only until they take no more than `before`, and a
    few more.
    """
    dead, more = context.state.delivery_totals.dead, MOST_DROPPED
    while dead.topics.total > context.limits.dead_memory:
        if dead.topics.total <= before:
            if not more:
                return
            more -= 1
        _drop_oldest(context, *dead.heaviest())


def _drop_oldest(context: Context, topic: bytes, user: bytes) -> None:
    """Drop the oldest dead letter of a user."""
    delivery = context.state.topics[topic].subscriptions[user].delivery
    assert delivery is not None
    context.counters[stats.DROPPED("dead")] += 1
    context.emit(DeadEnded(topic, user, (delivery.dead.oldest,)))
