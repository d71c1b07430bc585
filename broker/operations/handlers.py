"""The table of handlers: per operation a short function that checks, emits records and returns the result.

Called by the dispatcher only, after its checks. A handler that raises `FanmailError` has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from broker.operations import admin_delayed, admin_subscriptions, admin_topics, publishing, reading, receipts, streams
from broker.operations.context import Context, SubscriptionRef, touch
from broker.records import SettingsSet, SubscriptionSet, TopicBegan
from broker.state.delivery_state import DELIVERY_STATE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic import Topic
from common.clock import Now
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import Request


def subscribe(context: Context, request: Request, args: ops.Settings, now: Now) -> ops.Subscribed:
    """Subscribe a user to what is published from now on; of an existing subscription only settings change."""
    topic = context.state.topics.get(request.topic)
    created = topic is None or request.user not in topic.subscriptions
    if created:
        context.check_open()
        context.limits.check_subscribe(context.state, request.topic)
        context.check_storage(len(request.user))
        context.limits.check_memory(context.state, _subscription_cost(request, args, topic))
        if topic is None:
            context.emit(TopicBegan(request.topic, context.state.topics_begun + 1, next_seq=1))
            topic = context.state.topics[request.topic]
        context.emit(SubscriptionSet(request.topic, request.user, topic.next_seq))
        context.reserve(len(request.user))
    _set(touch(context, request, now), args, now)
    return ops.Subscribed(created)


def configure(context: Context, request: Request, args: ops.Settings, now: Now) -> ops.Nothing:
    """Set the named settings and leave the others."""
    _set(touch(context, request, now), args, now)
    return ops.Nothing()


def unsubscribe(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Nothing:
    """Drop the user's unread messages and end the subscription; the topic ends with the last one."""
    ref = touch(context, request, now)
    context.end_subscription(ref.topic, request.user)
    return ops.Nothing()


def _subscription_cost(request: Request, args: ops.Settings, topic: Topic | None) -> int:
    """Return the estimated bytes of memory that a new subscription takes, including a new topic."""
    settings = max(args.expires_after or 0, args.max_deliveries or 0) > 0
    cost = SUBSCRIPTION_COST + len(request.user) + (DELIVERY_STATE_COST if settings else 0)
    return cost if topic is not None else cost + TOPIC_COST + len(request.topic)


def _set(ref: SubscriptionRef, args: ops.Settings, now: Now) -> None:
    delivery = ref.subscription.delivery
    before = (delivery.expires_after, delivery.max_deliveries) if delivery else (0, 0)
    expires_after = before[0] if args.expires_after is None else max(0, args.expires_after)
    max_deliveries = before[1] if args.max_deliveries is None else max(0, args.max_deliveries)
    if (expires_after, max_deliveries) != before:
        if delivery is None:
            ref.context.limits.check_memory(ref.context.state, DELIVERY_STATE_COST)
        ref.emit(SettingsSet, expires_after, max_deliveries)
        if ref.subscription.delivery is not None:
            ref.subscription.delivery.last_call = now.mono


HANDLERS: dict[Op, Callable[..., Struct | None]] = {
    Op.SUBSCRIBE: subscribe,
    Op.UNSUBSCRIBE: unsubscribe,
    Op.CONFIGURE: configure,
    Op.PUBLISH: publishing.publish,
    Op.PUBLISH_APART: publishing.publish_apart,
    Op.TAKE: reading.take,
    Op.FETCH: reading.fetch,
    Op.LOOK: reading.status,
    Op.WAIT: reading.wait,
    Op.SKIP: reading.skip,
    Op.CANCEL: reading.cancel,
    Op.STREAM: streams.open_stream,
    Op.CONFIRM: streams.confirm,
    Op.FINISH: receipts.finish,
    Op.EXTEND: receipts.extend,
    Op.DEAD_LIST: receipts.list_dead,
    Op.DEAD_RETURN: receipts.return_dead,
    Op.DEAD_CLEAR: receipts.clear_dead,
    Op.TOPIC: admin_topics.describe_topic,
    Op.TOPIC_CHANGE: admin_topics.change_topic,
    Op.TOPIC_END: admin_topics.end_topic,
    Op.USERS: admin_topics.list_users,
    Op.USER: admin_subscriptions.describe_user,
    Op.PEEK: admin_subscriptions.peek_messages,
    Op.PURGE: admin_subscriptions.purge,
    Op.DELAYED: admin_delayed.list_delayed,
    Op.DELAYED_END: admin_delayed.end_delayed,
    Op.DELAYED_CLEAR: admin_delayed.clear_delayed,
}
