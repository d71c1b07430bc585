"""One short function per operation: check, emit records, say the result.

Called by `broker.dispatch` only, after its checks. A handler that raises `FanmailError` has emitted nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from broker.cutting import cut_runs
from broker.limits import Limits
from broker.piece import offsets_fit
from broker.records import MessageStored, Record, SubscriptionEnded, SubscriptionSet, TopicBegan, TopicEnded
from broker.state import State
from broker.topic import Topic
from common import ops
from common.clock import Now
from common.errors import FanmailError
from common.ops import Op
from common.wire import Request


@dataclass(slots=True)
class Core:
    """The state, its ceilings, and the records of the burst that is being worked on."""

    state: State
    limits: Limits
    records: list[Record] = field(default_factory=list)

    def emit(self, record: Record) -> None:
        """Changes the state and remembers the change for the store."""
        self.state.apply(record)
        self.records.append(record)

    def take_records(self) -> list[Record]:
        """What changed since the last call, in order, for one `store.commit`."""
        records = self.records + self.state.take_trims()
        self.records = []
        return records


def subscribe(core: Core, request: Request, args: ops.Nothing, now: Now) -> ops.Subscribed:
    """The user gets what is published from now on; an existing subscription stays as it is."""
    topic = core.state.topics.get(request.topic)
    if topic is not None and request.user in topic.subscriptions:
        return ops.Subscribed(created=False)
    core.limits.check_subscribe(core.state, request.topic, request.user)
    if topic is None:
        core.emit(TopicBegan(request.topic, core.state.topics_begun + 1, next_seq=1))
        topic = core.state.topics[request.topic]
    core.emit(SubscriptionSet(request.topic, request.user, topic.next_seq))
    return ops.Subscribed(created=True)


def unsubscribe(core: Core, request: Request, args: ops.Nothing, now: Now) -> ops.Nothing:
    """Lets go of the user's unread messages; the topic ends with its last subscription."""
    topic, _ = _find(core, request)
    core.emit(SubscriptionEnded(request.topic, request.user))
    if not topic.subscriptions:
        core.emit(TopicEnded(request.topic))
    return ops.Nothing()


def publish(core: Core, request: Request, args: ops.Publish, now: Now) -> ops.Published:
    """Stores the message or batch once for everyone subscribed now; with nobody there it is dropped."""
    single = args.count == 1 and not args.offsets
    if not single and not offsets_fit(args.body, args.offsets, args.count):
        raise FanmailError("bad-request", "the offsets of the batch do not fit its body")
    topic = core.state.topics.get(request.topic)
    if topic is None:
        return ops.Published(subscribers=0, epoch="", seq=0)
    size = len(args.headers) + len(args.body) + len(args.offsets)
    core.limits.check_publish(core.state, topic, size, args.count)
    seq = topic.next_seq
    core.emit(MessageStored(request.topic, seq, now.wall, args.headers, args.body, args.count, args.offsets))
    return ops.Published(len(topic.subscriptions), topic.epoch, seq)


def take(core: Core, request: Request, args: ops.Take, now: Now) -> ops.Message | None:
    """The user's next message, None where none waits. With `after` it stays the next one until it is confirmed."""
    topic, position = _find(core, request)
    if args.after:
        position = _confirm(core, request, args, topic, position)
    if position == topic.next_seq:
        return None
    piece = topic.piece(position)
    if not args.after:
        core.emit(SubscriptionSet(request.topic, request.user, position + 1))
    pending = topic.next_seq - position - 1
    return ops.Message(topic.epoch, position, piece.time, 1, pending, piece.headers, piece.single(position))


def fetch(core: Core, request: Request, args: ops.Fetch, now: Now) -> ops.Batch | None:
    """The user's next messages together, None where none waits; as with `take` for each."""
    topic, position = _find(core, request)
    if args.after:
        position = _confirm(core, request, args, topic, position)
    if position == topic.next_seq or args.max < 1:
        return None
    runs = cut_runs(topic, position, args)
    end = runs[-1].first + runs[-1].count
    if not args.after:
        core.emit(SubscriptionSet(request.topic, request.user, end))
    return ops.Batch(topic.epoch, topic.next_seq - end, runs)


def look(core: Core, request: Request, args: ops.Nothing, now: Now) -> ops.Status:
    """How the subscription stands; takes nothing."""
    topic, position = _find(core, request)
    pending = topic.next_seq - position
    return ops.Status(pending, topic.epoch, position if pending else 0)


def wait(core: Core, request: Request, args: ops.Wait, now: Now) -> ops.Wait:
    """The subscription exists: the request may be parked."""
    _find(core, request)
    return args


def pass_on(core: Core, request: Request, args: ops.Nothing, now: Now) -> ops.Nothing:
    """The client of a woken waiter has gone: the wake goes to the next one."""
    _find(core, request)
    return ops.Nothing()


def _confirm(core: Core, request: Request, args: ops.Take | ops.Fetch, topic: Topic, position: int) -> int:
    """Everything up to the cursor is done. Returns the new position; an older cursor changes nothing."""
    if args.seq == 0:
        return position
    if args.epoch != topic.epoch or not 0 < args.seq < topic.next_seq:
        oldest = {"oldest": f"{topic.epoch}-{position}"} if position < topic.next_seq else {}
        raise FanmailError(
            "cursor-lost", "this id was not published in this life of the topic; go on with after=0", **oldest
        )
    if args.seq >= position:
        position = args.seq + 1
        core.emit(SubscriptionSet(request.topic, request.user, position))
    return position


def _find(core: Core, request: Request) -> tuple[Topic, int]:
    topic = core.state.topics.get(request.topic)
    subscription = topic.subscriptions.get(request.user) if topic else None
    if topic is None or subscription is None:
        raise FanmailError("no-subscription", "this user has no subscription to this topic")
    return topic, subscription.position


HANDLERS: dict[Op, Callable[..., Struct | None]] = {
    Op.SUBSCRIBE: subscribe,
    Op.UNSUBSCRIBE: unsubscribe,
    Op.PUBLISH: publish,
    Op.TAKE: take,
    Op.FETCH: fetch,
    Op.LOOK: look,
    Op.WAIT: wait,
    Op.PASS: pass_on,
}
