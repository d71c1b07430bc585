"""Publishing: now, delayed, and once per idempotency key."""

from __future__ import annotations

from contextlib import suppress

from broker.operations.context import Context
from broker.records import DelayEnded, KeyForgotten, KeyRemembered, MessageStored, Payload, PublishDelayed
from broker.state.delayed import weight_of
from broker.state.idempotency import KnownPublish, key_weight
from broker.state.piece import MESSAGE_COST, each_body, offsets_ascend, offsets_fit
from broker.state.topic import Topic
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.publish_ops import MAX_APART
from common.protocol.wire import Request

RETRY_MS = 1000
"""Milliseconds until a delayed publish is tried again while its topic is at a ceiling, or the disk at its reserve."""

MOST_FORGOTTEN = 256
"""Keys that one request forgets to keep the ceiling: a slot that has come may have brought many more than there is room
for, and what a request changes must fit in an entry of a log.
"""


def publish(context: Context, request: Request, args: ops.Publish, now: Now) -> ops.Published:
    """Store a message or batch once for all current subscriptions; without any, drop it."""
    single = args.count == 1 and not args.offsets
    if not single and not offsets_fit(args.body, args.offsets, args.count):
        raise FanmailError("bad-request", "the offsets of the batch do not fit its body")
    topic = context.state.topics.get(request.topic)
    known = _known(context, request.topic, args, now) if args.key else None
    if known is not None:
        epoch = topic.epoch if topic and not known.due_ms else ""
        return ops.Published(known.subscribers, epoch, known.seq, known.due_ms, replayed=True)
    if context.paused:
        context.check_open()
    if args.delay > 0:
        return _delay(context, request, args, now)
    if topic is None:
        context.counters[stats.DROPPED("no-subscribers")] += args.count
        return ops.Published(subscribers=0, epoch="", seq=0)
    payload = Payload(args.headers, args.body, args.count, args.offsets)
    size = payload.size
    context.check_storage(size)
    _make_room(context, topic, size, args.count, size + MESSAGE_COST + _key_cost(request.topic, args))
    seq = topic.next_seq
    _store(context, topic, payload, args.ttl, now)
    published = ops.Published(len(topic.subscriptions), topic.epoch, seq)
    if args.key:
        _remember(context, _record(request.topic, args, published, now), now, MOST_FORGOTTEN)
    return published


def publish_apart(context: Context, request: Request, args: ops.PublishApart, now: Now) -> ops.PublishedApart:
    """Store messages that were published one by one: as one piece where that makes no difference, which is cheaper.

    It makes one where some are refused or repeats, and where the topic drops its oldest: it would drop more than it has
    to, because it drops whole pieces.
    """
    fits = args.count <= MAX_APART and offsets_fit(args.body, args.offsets, args.count)
    if not fits or len(args.keys) not in (0, args.count) or len(args.digests) != len(args.keys):
        raise FanmailError("bad-request", f"messages apart are a batch of at most {MAX_APART}, with a key each or none")
    topic = context.state.topics.get(request.topic)
    if topic is not None and not topic.settings.drop_oldest and _are_new(context, topic, args.keys):
        with suppress(FanmailError):
            return _publish_together(context, topic, args, now)
    if not offsets_ascend(args.offsets):
        raise FanmailError("bad-request", "the offsets of the messages do not ascend")
    first = topic.next_seq if topic is not None else 0
    result = ops.PublishedApart(0, topic.epoch if topic is not None else "", first)
    for index, body in enumerate(each_body(args.body, args.offsets, args.count)):
        alone = ops.Publish(args.headers, body, ttl=args.ttl)
        if args.keys:
            alone.key, alone.digest = args.keys[index], args.digests[index]
        try:
            published = publish(context, request, alone, now)
        except FanmailError as error:
            context.counters[stats.REJECTED(error.code)] += 1
            result.refused.append((index, error.code, error.detail))
        else:
            if published.replayed:
                result.replayed.append((index, published.subscribers, published.seq))
            else:
                result.subscribers = published.subscribers
        context.may_cut()  # each has the headers: together they may be more than an entry of a log has room for
    return result


def _are_new(context: Context, topic: Topic, keys: list[bytes]) -> bool:
    """Return whether no key is known, or given twice."""
    known = context.state.keys
    given = [key for key in keys if key]
    return len(set(given)) == len(given) and all(known.get(topic.name, key) is None for key in given)


def _publish_together(context: Context, topic: Topic, args: ops.PublishApart, now: Now) -> ops.PublishedApart:
    """Store new messages as one piece. Raise what refuses them together, having changed nothing."""
    if context.paused:
        context.check_open()
    payload = Payload(args.headers, args.body, args.count, args.offsets)
    size, seq, most = payload.size, topic.next_seq, MOST_FORGOTTEN
    context.check_storage(size, 1 + len(args.keys))
    keys = sum([key_weight(topic.name, key) for key in args.keys if key])
    _make_room(context, topic, size, args.count, size + MESSAGE_COST + keys)
    _store(context, topic, payload, args.ttl, now)
    context.reserve(0, len(args.keys))
    subscribers = len(topic.subscriptions)
    for index, key in enumerate(args.keys):
        if key:
            digest = args.digests[index]
            record = KeyRemembered(topic.name, key, digest, now.mono, subscribers, seq + index, 0)
            most = _remember(context, record, now, most)
    return ops.PublishedApart(subscribers, topic.epoch, seq)


def publish_delayed(context: Context, number: int, now: Now) -> bool:
    """Publish what was delayed until now. Return False where the topic has no room yet."""
    waiting = context.state.delayed.publishes[number]
    topic = context.state.topics.get(waiting.topic)
    count, size = waiting.payload.count, waiting.payload.size
    if topic is not None:
        if count > topic.settings.max_messages or size > topic.settings.max_bytes:
            context.counters[stats.DROPPED("too-large")] += count  # its ceiling was higher when it was accepted
            context.emit(DelayEnded(number))
            return True
        try:
            context.check_storage(size)
            _make_room(context, topic, size, count)
        except FanmailError:
            context.state.delayed.due.set(number, now.time + RETRY_MS)
            return False
    context.emit(DelayEnded(number))
    if topic is None:
        context.counters[stats.DELAYED_UNWANTED] += count
        return True
    _store(context, topic, waiting.payload, waiting.ttl, now)
    return True


def forget_keys(context: Context, now: Now, most: int) -> None:
    """Forget at most `most` idempotency keys whose time is up."""
    keys = context.state.keys
    for _ in range(most):
        at = keys.oldest_at()
        if at is None or at + context.limits.key_ttl > now.mono:
            return
        named = keys.oldest()
        assert named is not None
        context.emit(KeyForgotten(named.topic, named.key))


def _store(context: Context, topic: Topic, payload: Payload, ttl: int, now: Now) -> None:
    """Append a message or batch to the log of its topic; ceilings are checked. `ttl` in milliseconds."""
    expires = now.time + ttl if ttl > 0 else 0
    context.emit(MessageStored(topic.name, topic.next_seq, now.time, payload, expires, context.state.last_piece + 1))
    context.reserve(payload.size)
    context.counters[stats.PUBLISHED] += payload.count


def _make_room(context: Context, topic: Topic, size: int, count: int, memory: int = 0) -> None:
    """Check the ceilings, and drop the oldest messages of a topic that is set to.

    `memory` is the bytes that the broker needs in addition; a delayed publish has them already. Raises `topic-full`
    (429) and `memory-full` (503), having changed nothing.
    """
    settings, limits = topic.settings, context.limits
    if topic.messages + count <= settings.max_messages and topic.bytes + size <= settings.max_bytes:
        limits.check_memory(context.state, memory)
        return
    limits.check_size(settings, size, count)
    if not settings.drop_oldest:
        raise FanmailError(
            "topic-full",
            f"the topic holds {topic.messages} messages of {topic.bytes} bytes; its ceilings are "
            f"{settings.max_messages} messages and {settings.max_bytes} bytes, and this adds {count} of {size} bytes",
        )
    head, freed = topic.head_for(settings.max_messages - count, settings.max_bytes - size)
    limits.check_memory(context.state, memory - freed)
    context.move_head(topic, head, "overflow")
    limits.make_room(context.state, memory)


def _delay(context: Context, request: Request, args: ops.Publish, now: Now) -> ops.Published:
    payload = Payload(args.headers, args.body, args.count, args.offsets)
    size = payload.size
    topic = context.state.topics.get(request.topic)
    context.limits.check_size(topic.settings if topic else context.state.rules.of(request.topic), size, args.count)
    context.check_storage(size)
    number, due = context.state.delayed.last_number + 1, now.time + args.delay
    waiting = PublishDelayed(number, request.topic, due, payload, max(0, args.ttl))
    context.limits.check_delay(context.state, request.topic, weight_of(waiting))
    context.limits.check_memory(context.state, weight_of(waiting) + _key_cost(request.topic, args))
    context.emit(waiting)
    context.reserve(size)
    published = ops.Published(0, "", 0, due)
    if args.key:
        _remember(context, _record(request.topic, args, published, now), now, MOST_FORGOTTEN)
    return published


def _known(context: Context, topic: bytes, args: ops.Publish, now: Now) -> KnownPublish | None:
    """Return the publish that was made under the request's key.

    Raises `key-reused` (422) where that was another request.
    """
    known = context.state.keys.get(topic, args.key)
    if known is None or known.at_us + context.limits.key_ttl <= now.mono:
        return None
    if known.digest != args.digest:
        raise FanmailError("key-reused", "this Idempotency-Key was used for another request to this topic")
    context.counters[stats.REPLAYED] += 1
    return known


def _record(topic: bytes, args: ops.Publish, published: ops.Published, now: Now) -> KeyRemembered:
    """Return what is kept of a publish with a key."""
    return KeyRemembered(topic, args.key, args.digest, now.mono, published.subscribers, published.seq, published.due_ms)


def _remember(context: Context, record: KeyRemembered, now: Now, most: int) -> int:
    """Keep a key, and forget at most `most` others where it needs their room. Return how many of these are left."""
    keys, limits, topic = context.state.keys, context.limits, record.topic
    weight = key_weight(topic, record.key)
    forget_keys(context, now, most=4)
    if keys.get(topic, record.key) is not None:
        context.emit(KeyForgotten(topic, record.key))
    if keys.count(topic) >= limits.keys:
        context.counters[stats.KEYS_FORGOTTEN] += 1
        context.emit(KeyForgotten(topic, keys.oldest_of(topic)))
    while most and len(keys) and keys.weight + weight > limits.key_bytes:
        most -= 1
        context.counters[stats.KEYS_FORGOTTEN] += 1
        heaviest = keys.heaviest()
        context.emit(KeyForgotten(heaviest, keys.oldest_of(heaviest)))
    context.emit(record)
    return most


def _key_cost(topic: bytes, args: ops.Publish) -> int:
    return key_weight(topic, args.key) if args.key else 0
