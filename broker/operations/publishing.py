"""Publishing: at once, later, and only once."""

from __future__ import annotations

from broker.operations.context import Core
from broker.records import DelayEnded, KeyForgotten, KeyRemembered, MessageStored, Payload, PublishDelayed
from broker.state.delayed import weight_of
from broker.state.idempotency import Remembered, key_weight
from broker.state.piece import MESSAGE_COST, offsets_fit
from broker.state.topic import Topic
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops, stats
from common.protocol.wire import Request

RETRY_MS = 1000
"""Milliseconds until a delayed publish is tried again whose topic is at its ceiling, or the disk at its reserve."""


def publish(core: Core, request: Request, args: ops.Publish, now: Now) -> ops.Published:
    """Stores the message or batch once for everyone subscribed now; with nobody there it is dropped."""
    single = args.count == 1 and not args.offsets
    if not single and not offsets_fit(args.body, args.offsets, args.count):
        raise FanmailError("bad-request", "the offsets of the batch do not fit its body")
    topic = core.state.topics.get(request.topic)
    known = _known(core, request.topic, args, now) if args.key else None
    if known is not None:
        epoch = topic.epoch if topic and not known.due else ""
        return ops.Published(known.subscribers, epoch, known.seq, known.due, replayed=True)
    if core.paused:
        core.check_open()
    if args.delay > 0:
        return _delay(core, request, args, now)
    if topic is None:
        core.counters[stats.DROPPED("no-subscribers")] += args.count
        return ops.Published(subscribers=0, epoch="", seq=0)
    payload = Payload(args.headers, args.body, args.count, args.offsets)
    size = payload.size
    core.check_storage(size)
    _make_room(core, topic, size, args.count, size + MESSAGE_COST + _key_cost(request.topic, args))
    seq = topic.next_seq
    _store(core, topic, payload, args.ttl, now)
    published = ops.Published(len(topic.subscriptions), topic.epoch, seq)
    if args.key:
        _remember(core, request.topic, args, published, now)
    return published


def publish_delayed(core: Core, number: int, now: Now) -> bool:
    """A delayed publish is due: it enters the log as if it was sent now. False where the topic has no room yet."""
    waiting = core.state.delayed.publishes[number]
    topic = core.state.topics.get(waiting.topic)
    count, size = waiting.payload.count, waiting.payload.size
    if topic is not None:
        if count > topic.settings.max_messages or size > topic.settings.max_bytes:
            core.counters[stats.DROPPED("too-large")] += count  # its ceiling was higher when it was accepted
            core.emit(DelayEnded(number))
            return True
        try:
            core.check_storage(size)
            _make_room(core, topic, size, count)
        except FanmailError:
            core.state.delayed.due.set(number, now.time + RETRY_MS)
            return False
    core.emit(DelayEnded(number))
    if topic is None:
        core.counters[stats.DELAYED_UNWANTED] += count
        return True
    _store(core, topic, waiting.payload, waiting.ttl, now)
    return True


def forget_keys(core: Core, now: Now, most: int) -> None:
    """Forgets idempotency keys whose time is up, at most so many."""
    keys = core.state.keys
    for _ in range(most):
        at = keys.oldest_at()
        if at is None or at + core.limits.key_ttl > now.mono:
            return
        named = keys.oldest()
        assert named is not None
        core.emit(KeyForgotten(named.topic, named.key))


def _store(core: Core, topic: Topic, payload: Payload, ttl: int, now: Now) -> None:
    """Append a message or batch, whose ceilings are checked, to the log of its topic; `ttl` in milliseconds."""
    expires = now.time + ttl if ttl > 0 else 0
    core.emit(MessageStored(topic.name, topic.next_seq, now.time, payload, expires, core.state.last_piece + 1))
    core.reserve(payload.size)
    core.counters[stats.PUBLISHED] += payload.count


def _make_room(core: Core, topic: Topic, size: int, count: int, memory: int = 0) -> None:
    """Checks the ceilings, and lets go of the oldest messages of a topic that is to do so. `memory` is how many bytes
    more the broker needs; a delayed publish has them already. Raises `topic-full` (429) and `memory-full` (503), and
    has changed nothing then.
    """
    settings, limits = topic.settings, core.limits
    if topic.messages + count <= settings.max_messages and topic.bytes + size <= settings.max_bytes:
        limits.check_memory(core.state, memory)
        return
    limits.check_size(settings, size, count)
    if not settings.drop_oldest:
        raise FanmailError(
            "topic-full",
            f"the topic holds {topic.messages} messages of {topic.bytes} bytes; its ceilings are "
            f"{settings.max_messages} messages and {settings.max_bytes} bytes, and this is {count} of {size} more",
        )
    head, freed = topic.head_for(settings.max_messages - count, settings.max_bytes - size)
    limits.check_memory(core.state, memory - freed)
    core.move_head(topic, head, "overflow")
    limits.make_room(core.state, memory)


def _delay(core: Core, request: Request, args: ops.Publish, now: Now) -> ops.Published:
    payload = Payload(args.headers, args.body, args.count, args.offsets)
    size = payload.size
    topic = core.state.topics.get(request.topic)
    core.limits.check_size(topic.settings if topic else core.state.rules.of(request.topic), size, args.count)
    core.check_storage(size)
    number, due = core.state.delayed.last_number + 1, now.time + args.delay
    waiting = PublishDelayed(number, request.topic, due, payload, max(0, args.ttl))
    core.limits.check_delay(core.state, request.topic, weight_of(waiting))
    core.limits.check_memory(core.state, weight_of(waiting) + _key_cost(request.topic, args))
    core.emit(waiting)
    core.reserve(size)
    published = ops.Published(0, "", 0, due)
    if args.key:
        _remember(core, request.topic, args, published, now)
    return published


def _known(core: Core, topic: bytes, args: ops.Publish, now: Now) -> Remembered | None:
    """What was made under the request's key. Raises `key-reused` (422) where that was another request."""
    known = core.state.keys.get(topic, args.key)
    if known is None or known.at + core.limits.key_ttl <= now.mono:
        return None
    if known.digest != args.digest:
        raise FanmailError("key-reused", "this Idempotency-Key was used for another request to this topic")
    core.counters[stats.REPLAYED] += 1
    return known


def _remember(core: Core, topic: bytes, args: ops.Publish, published: ops.Published, now: Now) -> None:
    keys, limits = core.state.keys, core.limits
    forget_keys(core, now, most=4)
    if keys.get(topic, args.key) is not None:
        core.emit(KeyForgotten(topic, args.key))
    if keys.count(topic) >= limits.keys:
        core.counters[stats.KEYS_FORGOTTEN] += 1
        core.emit(KeyForgotten(topic, keys.oldest_of(topic)))
    while len(keys) and keys.weight + _key_cost(topic, args) > limits.key_bytes:
        core.counters[stats.KEYS_FORGOTTEN] += 1
        heaviest = keys.heaviest()
        core.emit(KeyForgotten(heaviest, keys.oldest_of(heaviest)))
    core.emit(
        KeyRemembered(topic, args.key, args.digest, now.mono, published.subscribers, published.seq, published.due)
    )


def _key_cost(topic: bytes, args: ops.Publish) -> int:
    return key_weight(topic, args.key) if args.key else 0
