"""The operator's operations on delayed publishes. Listings scan at most `Context.scan_budget` entries per turn."""

from __future__ import annotations

from itertools import islice

from broker.operations.context import Context
from broker.records import DelayEnded, PublishDelayed
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.wire import Request


def list_topics(context: Context, args: ops.ListDelayedTopics, now: Now) -> ops.DelayedTopicPage:
    """List topics with delayed publishes in order, whether they have subscriptions or not."""
    delayed, most = context.state.delayed, context.may_scan(args.max)
    names = list(islice(delayed.names.after(args.after), most))
    context.scan_budget -= len(names)
    slots = context.state.slots
    shown = [name for name in names if not slots.resting or slots.holds(name)]
    rows = [ops.DelayedTopicRow(name, delayed.count(name), delayed.usage.of(name)) for name in shown]
    return ops.DelayedTopicPage(rows, names[-1] if names else args.after, most > 0 and len(names) < most)


def list_delayed(context: Context, request: Request, args: ops.ListDelayed, now: Now) -> ops.DelayedPage:
    """List delayed publishes of a topic in the order in which they were accepted."""
    numbers, most = context.state.delayed.topics.get(request.topic), context.may_scan(args.max)
    found = list(islice(numbers.after(args.after), most)) if numbers else []
    context.scan_budget -= len(found)
    rows: list[ops.DelayedRow] = []
    room = args.max_bytes
    for number in found:
        rows.append(_row(context.state.delayed.publishes[number], room))
        room -= len(rows[-1].body)
    return ops.DelayedPage(rows, found[-1] if found else args.after, most > 0 and len(found) < most)


def end_delayed(context: Context, request: Request, args: ops.EndDelayed, now: Now) -> ops.Counted:
    """Remove one delayed publish; return its number of messages. Raise `no-delayed` (404).

    Its idempotency key stays remembered: a client that repeats the publish must not bring it back.
    """
    waiting = context.state.delayed.publishes.get(args.number)
    if waiting is None or (waiting.topic, waiting.due_ms) != (request.topic, args.due_ms):
        raise FanmailError("no-delayed", "this topic has no delayed publish with this id: it was published, or removed")
    return ops.Counted(_remove(context, waiting))


def clear_delayed(context: Context, request: Request, args: ops.ClearDelayed, now: Now) -> ops.Ended:
    """Remove the delayed publishes of a topic, as many as the turn allows."""
    numbers = context.state.delayed.topics.get(request.topic)
    found = list(islice(numbers.after(0), context.may_scan(args.max))) if numbers else []
    context.scan_budget -= len(found)
    for number in found:
        _remove(context, context.state.delayed.publishes[number])
    return ops.Ended(len(found), context.state.delayed.count(request.topic))


def _remove(context: Context, waiting: PublishDelayed) -> int:
    context.counters[stats.DROPPED("removed")] += waiting.payload.count
    context.emit(DelayEnded(waiting.number))
    return waiting.payload.count


def _row(waiting: PublishDelayed, room: int) -> ops.DelayedRow:
    """Return a row with at most `room` bytes of the body."""
    payload, ttl = waiting.payload, waiting.ttl
    body, batch = payload.body[: max(0, room)], bool(payload.offsets)
    return ops.DelayedRow(
        waiting.number, waiting.due_ms, payload.count, payload.size, ttl, payload.headers, body, batch
    )
