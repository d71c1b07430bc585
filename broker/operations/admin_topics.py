"""The operator's operations on topics. Listings scan at most `Context.scan_budget` entries per turn of the loop."""

from __future__ import annotations

from heapq import nlargest
from itertools import islice

from broker.operations.context import Context
from broker.records import TopicChanged
from broker.state.delivery_state import DeliveryState
from broker.state.name_index import in_order
from broker.state.piece import Piece
from broker.state.subscription import Subscription
from broker.state.topic import Topic
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops
from common.protocol.wire import Request

_SETTINGS = ("max_messages", "max_bytes", "max_age", "drop_oldest")


def list_topics(context: Context, args: ops.ListTopics, now: Now) -> ops.TopicPage:
    """List topics in order; with `oldest`, only those whose oldest messages are the oldest."""
    topics = context.state.topics
    most = context.may_scan(args.max)
    names = list(islice(in_order(context.state.index, topics, args.after, args.prefix), most))
    context.scan_budget -= len(names)
    slots = context.state.slots
    rows = [_row(topics[name], now) for name in names if not slots.resting or slots.holds(name)]
    if args.oldest > 0:
        rows = nlargest(args.oldest, (row for row in rows if row.messages), key=lambda row: row.oldest)
    return ops.TopicPage(rows, names[-1] if names else args.after, most > 0 and len(names) < most)


def describe_topic(context: Context, request: Request, args: ops.DescribeTopic, now: Now) -> ops.TopicInfo:
    """Describe a topic. Scans as many of its users as the turn allows."""
    topic = find_topic(context, request.topic)
    holders: list[bytes] = []
    last, done = args.after, not topic.messages
    if not done:
        piece = topic.head_piece
        most = context.may_scan(context.scan_budget)
        looked = 0
        for user in islice(in_order(topic.index, topic.subscriptions, args.after), most):
            looked, last = looked + 1, user
            if piece is not None and max(topic.subscriptions[user].floor, topic.head_seq) < piece.end:
                holders.append(user)
                if len(holders) >= args.max:
                    break
        context.scan_budget -= looked
        done = looked < most or len(holders) >= args.max
    own = topic.changed or TopicChanged(topic.name)
    return ops.TopicInfo(
        _row(topic, now),
        topic.next_seq,
        topic.head_seq,
        ops.TopicSettings(*topic.settings),
        ops.TopicSettings(*(getattr(own, name) for name in _SETTINGS)),
        holders,
        last,
        done,
    )


def change_topic(context: Context, request: Request, args: ops.ChangeTopic, now: Now) -> ops.Nothing:
    """Set the named settings; they last until the topic ends."""
    topic = find_topic(context, request.topic)
    own = topic.changed
    values = {name: getattr(own, name) if own else None for name in _SETTINGS}
    for name in args.names:
        if name not in values:
            raise FanmailError("bad-request", "no such setting of a topic")
        values[name] = getattr(args.values, name)
    changed = TopicChanged(topic.name, **values)
    if changed != (own or TopicChanged(topic.name)):
        context.emit(changed)
    return ops.Nothing()


def end_topic(context: Context, request: Request, args: ops.EndTopic, now: Now) -> ops.Ended:
    """End subscriptions, as many as the turn allows; the topic ends with the last."""
    topic = find_topic(context, request.topic)
    users = list(islice(topic.subscriptions, context.may_scan(args.max)))
    context.scan_budget -= len(users)
    for user in users:
        context.end_subscription(topic, user)
        context.ended.append((topic.name, user))
    return ops.Ended(len(users), len(topic.subscriptions))


def list_users(context: Context, request: Request, args: ops.ListUsers, now: Now) -> ops.UserPage:
    """List subscriptions of a topic in order."""
    topic = find_topic(context, request.topic)
    most = context.may_scan(args.max)
    users = list(islice(in_order(topic.index, topic.subscriptions, args.after), most))
    context.scan_budget -= len(users)
    rows = [user_row(topic, user, topic.subscriptions[user], now) for user in users]
    return ops.UserPage(rows, users[-1] if users else args.after, most > 0 and len(users) < most)


def user_row(topic: Topic, user: bytes, subscription: Subscription, now: Now) -> ops.UserRow:
    """Return the row of a subscription."""
    delivery = subscription.delivery or _NONE
    floor = max(subscription.floor, topic.head_seq)
    oldest = topic.piece(floor) if floor < topic.next_seq else None
    return ops.UserRow(
        user,
        topic.pending(subscription),
        delivery.leases.open,
        len(delivery.dead.letters),
        floor,
        _age(oldest, now),
        delivery.expires_after,
        delivery.max_deliveries,
    )


def find_topic(context: Context, name: bytes) -> Topic:
    """Return the topic. Raise `no-topic` (404)."""
    topic = context.state.topics.get(name)
    if topic is None:
        raise FanmailError("no-topic", "nobody is subscribed to this topic")
    return topic


def _row(topic: Topic, now: Now) -> ops.TopicRow:
    return ops.TopicRow(
        topic.name, topic.epoch, topic.messages, topic.bytes, len(topic.subscriptions), _age(topic.head_piece, now)
    )


def _age(piece: Piece | None, now: Now) -> int:
    return 0 if piece is None else max(0, now.time - piece.time)


_NONE = DeliveryState()
"""For subscriptions without a delivery state; never changed."""
