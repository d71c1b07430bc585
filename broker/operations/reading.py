"""Reading: the next messages, taken, by cursor or under a lease; the status of a subscription; waiting."""

from __future__ import annotations

from broker.operations import leasing, streams
from broker.operations.answer_size import check_fits
from broker.operations.confirming import check_no_leases, confirm_up_to
from broker.operations.context import Context, SubscriptionRef, find, touch
from broker.records import SubscriptionSet
from broker.state.runs import Budget, cut_runs
from common.clock import Now
from common.protocol import ops
from common.protocol.wire import Request


def take(context: Context, request: Request, args: ops.Take, now: Now) -> ops.Message | None:
    """Return the user's next message, None where none waits.

    With `after` it stays the next one until it is confirmed.
    """
    ref = touch(context, request, now)
    if args.room:
        check_fits(ref, args, now)
    if args.lease > 0:
        return leasing.lease_next(ref, args.lease, now)
    topic, subscription = ref.topic, ref.subscription
    if args.after:
        check_no_leases(ref, now)
        confirm_up_to(ref, args.epoch, args.seq)
    elif subscription.delivery is not None:
        message = leasing.take_returned(ref, now)
        if message is not None:
            return message
    while True:
        position = subscription.position
        if position < topic.head_seq or topic.ttls:
            position = leasing.next_position(ref, now)
        if position == topic.next_seq:
            return None
        piece = context.with_content(topic, topic.piece(position))
        if piece is not None:
            break
        if args.room:
            check_fits(ref, args, now)
    if not args.after:
        context.emit(SubscriptionSet(request.topic, request.user, position + 1))
    pending = topic.next_seq - position - 1
    if subscription.delivery is not None:
        pending += subscription.returned
    return ops.Message(topic.epoch, position, piece.time, 1, pending, piece.headers, piece.single(position))


def fetch(context: Context, request: Request, args: ops.Fetch, now: Now) -> ops.Batch | None:
    """Return the user's next messages together, None where none waits; each as with `take`.

    With `place` those of a stream, as `streams.read_ahead`.
    """
    ref = touch(context, request, now)
    if args.max < 1:
        return None
    if args.place:
        return streams.read_ahead(ref, args, now)
    if args.room:
        check_fits(ref, args, now)
    runs: list[ops.Run] = []
    if args.lease > 0:
        runs = leasing.lease_many(ref, args, now)
    else:
        budget = Budget(args.max, args.max_bytes, args.max_bytes, args.one_run)
        if args.after:
            check_no_leases(ref, now)
            confirm_up_to(ref, args.epoch, args.seq)
        elif ref.subscription.delivery is not None:
            runs = leasing.take_many_returned(ref, budget, now)
        if not runs or (budget.messages > 0 and not args.one_run and not ref.subscription.returned):
            runs += _fresh(ref, budget, now, required=not runs, take=not args.after)
    if not runs:
        return None
    return ops.Batch(ref.topic.epoch, _left(ref, runs, args), runs)


def status(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Status:
    """Return the status of the subscription. Takes nothing."""
    ref = find(context, request)
    topic, subscription, delivery = ref.topic, ref.subscription, ref.subscription.delivery
    fresh = topic.next_unexpired(subscription.position, now.time)
    pending = topic.pending(subscription)
    seq = fresh if fresh < topic.next_seq else 0
    if delivery is None:
        return ops.Status(pending, topic.epoch, seq)
    ready = leasing.first_returned(ref, now)
    return ops.Status(pending, topic.epoch, ready or seq, delivery.leases.open, len(delivery.dead.letters))


def wait(context: Context, request: Request, args: ops.Wait, now: Now) -> ops.Wait:
    """Check that the subscription exists: then the request may be parked. Of a stream, raise as `check_stream`."""
    ref = touch(context, request, now)
    if args.place:
        streams.check_stream(ref, args.epoch, args.place, now)
        context.streams.used((request.topic, request.user), args.stream, now.mono)
    return args


def cancel(context: Context, request: Request, args: ops.Cancel, now: Now) -> ops.Cancel:
    """Check that the subscription exists: then there may be a parked request."""
    if args.stream:  # also of a subscription that has ended
        context.streams.ended((request.topic, request.user), args.stream)
    touch(context, request, now)
    return args


def skip(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Nothing:
    """Check that the subscription exists: the wake then goes to the next waiter.

    The client of the woken one has disconnected.
    """
    touch(context, request, now)
    return ops.Nothing()


def _fresh(ref: SubscriptionRef, budget: Budget, now: Now, *, required: bool, take: bool) -> list[ops.Run]:
    """Return new messages, one at least where `required`; with `take` the position advances."""
    topic = ref.topic
    runs: list[ops.Run] = []
    while not runs and (position := leasing.next_position(ref, now)) < topic.next_seq:
        runs = cut_runs(topic, position, budget, now.time, ref.context.with_content, required=required)
        if not topic.piece(position).damaged:
            break
    if runs and take:
        ref.emit(SubscriptionSet, runs[-1].first + runs[-1].count)
    return runs


def _left(ref: SubscriptionRef, runs: list[ops.Run], args: ops.Fetch) -> int:
    """Return how many messages wait for this user after these."""
    if not args.after:
        return ref.topic.pending(ref.subscription)
    return ref.topic.next_seq - runs[-1].first - runs[-1].count
