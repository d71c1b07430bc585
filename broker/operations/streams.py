"""Streams: opening one, reading ahead of what is confirmed, and confirming."""

from __future__ import annotations

from broker.operations import leasing
from broker.operations.answer_size import check_fits
from broker.operations.confirming import check_no_leases, confirm_up_to
from broker.operations.context import Context, SubscriptionRef, touch
from broker.state.runs import Budget, cut_runs
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.wire import Request


def open_stream(context: Context, request: Request, args: ops.OpenStream, now: Now) -> ops.StreamOpened:
    """Open a stream after confirming up to the cursor. Raise as a `take` with `after`, and `leases-out`."""
    ref = touch(context, request, now)
    check_no_leases(ref, now)
    if args.after:
        _confirm(ref, args.epoch, args.seq, stats.CONFIRMED_BY_CLIENT)
    number = context.streams.next((request.topic, request.user), now.mono)
    return ops.StreamOpened(number, ref.topic.epoch, max(ref.subscription.position, ref.topic.head_seq))


def confirm(context: Context, request: Request, args: ops.Confirm, now: Now) -> ops.Confirmed:
    """Confirm up to the cursor without reading. Raise as a `take` with `after`."""
    ref = touch(context, request, now)
    if args.stream and not context.streams.used((request.topic, request.user), args.stream, now.mono):
        return ops.Confirmed(False)
    check_no_leases(ref, now)
    _confirm(ref, args.epoch, args.seq, stats.CONFIRMED_BY_TIME if args.stream else stats.CONFIRMED_BY_CLIENT)
    return ops.Confirmed(True)


def _confirm(ref: SubscriptionRef, epoch: str, seq: int, counter: str) -> None:
    before = ref.subscription.position
    confirm_up_to(ref, epoch, seq)
    ref.context.counters[counter] += ref.subscription.position - before


def check_stream(ref: SubscriptionRef, epoch: str, place: int, now: Now) -> None:
    """Raise where a stream at this place cannot go on: `no-subscription`, `cursor-lost`, `leases-out`."""
    if epoch != ref.topic.epoch:
        raise FanmailError("no-subscription", "the topic that this stream read has ended")
    if place > ref.topic.next_seq:
        raise FanmailError("cursor-lost", "the stream is ahead of the topic")
    check_no_leases(ref, now)


def read_ahead(ref: SubscriptionRef, args: ops.Fetch, now: Now) -> ops.Batch:
    """Return the messages of a stream from its place on, maybe none; takes and confirms nothing."""
    check_stream(ref, args.epoch, args.place, now)
    topic = ref.topic
    position = max(ref.subscription.position, topic.head_seq)
    leasing.next_position(ref, now)
    if args.room:
        check_fits(ref, args, now)
    place = max(args.place, position)
    runs: list[ops.Run] = []
    budget = Budget(args.max, args.max_bytes, args.max_bytes, args.one_run)
    while not runs and (found := _next_ahead(ref, place, now)) < topic.next_seq:
        runs = cut_runs(topic, found, budget, now.time, ref.context.with_content)
        if not topic.piece(found).damaged:
            break
    left = topic.next_seq - (runs[-1].first + runs[-1].count) if runs else 0
    return ops.Batch(topic.epoch, left, runs, position)


def _next_ahead(ref: SubscriptionRef, place: int, now: Now) -> int:
    """Return the first message from `place` on that may be delivered; count those of the user that are passed over."""
    topic = ref.topic
    found = topic.next_unexpired(place, now.time)
    if found != place and place > ref.subscription.position:  # those before are counted with the position
        damaged = topic.damaged_between(place, found)
        ref.context.counters[stats.SKIPPED_DAMAGED] += damaged
        ref.context.counters[stats.SKIPPED_TTL] += found - place - damaged
    return found
