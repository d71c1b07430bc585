"""A broker without sockets: packed requests in, unpacked replies out, and a clock that tests advance."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from broker.dispatch.dispatcher import Arrived, Dispatcher
from broker.dispatch.identity import Identity
from broker.dispatch.request_log import RequestLog
from broker.operations.context import Context
from broker.operations.limits import Limits
from broker.state.body_cache import BodyCache
from broker.state.state import State
from broker.state.topic_settings import TopicRule, TopicRules
from broker.store.base import Store
from broker.store.memory import MemoryStore
from broker.thresholds import DEFAULT, Thresholds
from common.clock import ManualClock
from common.cluster.slots import BrokerAddress, ClusterMap
from common.protocol import ops, wire
from common.protocol.grouping import group_messages
from common.protocol.ops import Op

STORE_ID = "0badcafe"
IDENTITY = Identity("fanmail", "b0", incarnation=77)
ALONE = ClusterMap("fanmail", 1, [BrokerAddress("b0", "ipc:///nowhere")])
ROOMY = Limits(topics=10**6, subscriptions=10**6, topic_messages=10**6, topic_bytes=2**40, memory=2**40)
SECOND = 1_000_000
"""In microseconds, the unit of deadlines."""
NOTHING = ops.Nothing()


class Asked(NamedTuple):
    """A request before it is packed. A large `body` is sent as a frame of its own."""

    op: Op
    topic: bytes = b""
    user: bytes = b""
    args: Struct = NOTHING
    timeout: int = 5 * SECOND
    request_id: str = ""


class Answer(NamedTuple):
    """An unpacked reply: either `code` is "" and there is a result, or it has a code, a detail and further fields."""

    id: int
    code: str
    result: Any
    detail: str = ""
    fields: tuple[tuple[str, Any], ...] = ()


class Told(NamedTuple):
    """The reply to a parked request, and its connection."""

    id: int
    now: bool
    ticket: int
    peer: bytes


def loaded(store: Store, rules: TopicRules | None = None, keep: int = 2**62, thresholds: Thresholds = DEFAULT) -> State:
    """Return the state that a store loads. Bodies of up to `keep` bytes stay in memory."""
    contents = BodyCache(store.read if store.durable else None, keep, thresholds)
    state = State(rules, contents, store.durable, thresholds)
    for record in store.load():
        state.apply(record)
    return state


@dataclass
class BrokerDriver:
    """One broker core behind its dispatcher, which is addressed in bytes only."""

    limits: Limits = ROOMY
    store: Store = field(default_factory=lambda: MemoryStore(STORE_ID))
    clock: ManualClock = field(default_factory=ManualClock)
    cluster_map: ClusterMap = ALONE
    identity: Identity = IDENTITY
    next_id: int = 16
    rules: Sequence[TopicRule] = ()
    keep: int = 2**62
    """Bytes of bodies that stay in memory although the store has them."""
    read: Callable[[], int] = lambda: 0
    """The clock of the request log."""
    thresholds: Thresholds = DEFAULT

    def __post_init__(self) -> None:
        state = loaded(self.store, TopicRules(self.limits.topic_settings, self.rules), self.keep, self.thresholds)
        self.dispatcher = Dispatcher(
            Context(state, self.limits), self.identity, self.cluster_map, request_log=RequestLog(self.read)
        )

    @property
    def state(self) -> State:
        return self.dispatcher.context.state

    def restart(self) -> None:
        """Continue with what the store loads; what was not committed is lost."""
        self.__post_init__()

    def commit(self) -> None:
        """End a burst as the loop does."""
        records = self.dispatcher.context.take_records()
        if records:
            self.store.begin(records, self.clock.mark())
            self.state.bodies.shrink(self.store.stored_piece)

    def pack(self, asked: Asked, request_id: int | None = None) -> bytes:
        deadline = self.clock.now().mono + asked.timeout
        return wire.pack_request(
            self._id() if request_id is None else request_id,
            asked.op,
            asked.topic,
            asked.user,
            deadline,
            asked.args,
            asked.request_id,
        )

    def frames(self, asked: Sequence[Asked], body: bytes | None = None) -> list[bytes]:
        """Return one message with all of these requests, and large bodies as frames of their own."""
        packed = wire.pack_requests(
            self.identity.incarnation, self.cluster_map.epoch, [self.pack(each) for each in asked]
        )
        return [packed] if body is None else [packed, body]

    def handle(self, frames: list[bytes], peer: bytes = b"front") -> Arrived:
        """Do what is due and then handle a message, as the loop does."""
        self.run_due()
        return self.dispatcher.handle(frames, self.clock.now(), peer)

    def turn(self) -> list[Told]:
        """Run one iteration of the loop. Return its replies to parked requests."""
        told = []
        for peer, answer in self.dispatcher.turn(self.clock.now()):
            (reply,) = wire.unpack_replies([wire.pack_replies(77, 1, 1, 1, [answer.packed])]).replies
            assert reply.code == ""
            assert answer.body is None
            look = wire.unpack_result(Op.WAIT, reply.result)
            told.append(Told(reply.id, look.now, look.ticket, peer))
        return told

    def settle(self) -> list[Told]:
        """Run iterations of the loop until there is nothing left to do now."""
        told = self.turn()
        while self.dispatcher.waiters.busy:
            told += self.turn()
        return told

    def send(self, *asked: Asked, body: bytes | None = None) -> list[Answer]:
        """Send one message, and unpack what a front would read."""
        first = self.next_id
        arrived = self.handle(self.frames(asked, body))
        ops_by_id = {first + n: each.op for n, each in enumerate(asked)}
        return sorted(unpacked(self, arrived, ops_by_id))

    def ask(self, op: Op, topic: bytes = b"", user: bytes = b"", args: Struct = NOTHING) -> Answer:
        return self.send(Asked(op, topic, user, args))[0]

    def elapse(self, seconds: float) -> None:
        """Advance the clock, and run an iteration of the loop, which does what is due."""
        self.clock.advance(seconds)
        self.run_due()

    def run_due(self) -> None:
        """Do what is due, which takes several iterations of the loop with small thresholds."""
        now = self.clock.now()
        self.dispatcher.run_due(now)
        while self.thresholds is not DEFAULT and self.due_now():
            self.dispatcher.run_due(now)

    def due_now(self) -> bool:
        """Return whether the next iteration of the loop has something due."""
        wait = self.dispatcher._scheduler.wait(self.clock.now())
        return wait is not None and wait <= 0

    def subscribe(self, topic: bytes, user: bytes, **settings: int) -> Answer:
        return self.ask(Op.SUBSCRIBE, topic, user, ops.Settings(**settings) if settings else NOTHING)

    def configure(self, topic: bytes, user: bytes, **settings: int) -> Answer:
        return self.ask(Op.CONFIGURE, topic, user, ops.Settings(**settings))

    def unsubscribe(self, topic: bytes, user: bytes) -> Answer:
        return self.ask(Op.UNSUBSCRIBE, topic, user)

    def take(self, topic: bytes, user: bytes) -> Answer:
        return self.ask(Op.TAKE, topic, user, ops.Take())

    def lease(self, topic: bytes, user: bytes, seconds: float = 30) -> Answer:
        return self.ask(Op.TAKE, topic, user, ops.Take(lease=int(seconds * SECOND)))

    def fetch(self, topic: bytes, user: bytes, most: int = 1000, *, room: int = 2**40, lease: float = 0) -> Answer:
        """Fetch several messages, as one run per piece. With `lease`, in seconds, they are leased."""
        return self.ask(Op.FETCH, topic, user, ops.Fetch(False, "", 0, most, room, False, int(lease * SECOND)))

    def finish(self, topic: bytes, user: bytes, *receipts: ops.Receipt) -> list[str]:
        """Return the result of each receipt, "" if its message is acknowledged."""
        codes: list[str] = self.ask(Op.FINISH, topic, user, ops.Finish(list(receipts))).result.codes
        return codes

    def extend(self, topic: bytes, user: bytes, receipt: ops.Receipt, seconds: float = 0, delay: float = 0) -> Answer:
        args = ops.Extend(receipt, int(seconds * SECOND), int(delay * SECOND))
        return self.ask(Op.EXTEND, topic, user, args)

    def dead(self, topic: bytes, user: bytes, after: int = 0, most: int = 1000, room: int = 2**40) -> Answer:
        return self.ask(Op.DEAD_LIST, topic, user, ops.ListDead(after, most, room))

    def after(self, topic: bytes, user: bytes, cursor: str = "0") -> Answer:
        """Acknowledge up to a message id, and read the next message."""
        epoch, _, seq = cursor.rpartition("-")
        return self.ask(Op.TAKE, topic, user, ops.Take(True, epoch, int(seq)))

    def look(self, topic: bytes, user: bytes) -> Answer:
        return self.ask(Op.LOOK, topic, user)

    def wait(self, topic: bytes, user: bytes, seconds: float = 30, ticket: int = 0, peer: bytes = b"front") -> int:
        """Park a request. Return its id."""
        asked = Asked(Op.WAIT, topic, user, ops.Wait(ticket), int(seconds * SECOND))
        assert self.handle(self.frames([asked]), peer).replies == [], "it is parked"
        return self.next_id - 1

    def skip(self, topic: bytes, user: bytes) -> Answer:
        return self.ask(Op.SKIP, topic, user)

    def publish(self, topic: bytes, body: bytes, headers: bytes = b"", **options: Any) -> Answer:
        """Publish a message; a large body is sent as a front does. `options` are further fields of the arguments."""
        if options:
            return self.ask(Op.PUBLISH, topic, args=ops.Publish(headers, body, **options))
        if len(body) >= wire.LARGE_BODY:
            return self.send(Asked(Op.PUBLISH, topic, args=ops.Publish(headers, b"")), body=body)[0]
        return self.ask(Op.PUBLISH, topic, args=ops.Publish(headers, body))

    def bodies(self, topic: bytes, user: bytes) -> list[bytes]:
        """Take all waiting messages of a user."""
        taken = []
        while (answer := self.take(topic, user)).result is not None:
            taken.append(answer.result.body)
        return taken

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id - 1


def batch(*messages: bytes, headers: bytes = b"", **options: Any) -> ops.Publish:
    """Return the arguments of a batch. `options` are further fields of them."""
    framed = [len(each).to_bytes(4, "big") + each for each in messages]
    ends = itertools.accumulate(map(len, framed), initial=0)
    offsets = b"".join(end.to_bytes(4, "little") for end in ends)
    return ops.Publish(headers, b"".join(framed), len(messages), offsets, **options)


def apart(*messages: bytes, headers: bytes = b"", ttl: int = 0, keys: Sequence[bytes] = ()) -> ops.PublishApart:
    """Return the arguments that publish messages apart; the digest of one with a key is its body."""
    args = batch(*messages, headers=headers)
    digests = [body[:16] for body in messages] if keys else []
    return ops.PublishApart(headers, args.body, args.count, args.offsets, ttl, list(keys), digests)


def receipt_of(message: ops.Message) -> ops.Receipt:
    """Return the receipt of a leased message."""
    return ops.Receipt(message.epoch, message.seq, message.attempt)


def bodies_of(found: ops.Batch | None) -> list[bytes]:
    """Return the messages of a fetch."""
    bodies = []
    for run in found.runs if found else ():
        rest = run.body
        while rest:
            end = 4 + int.from_bytes(rest[:4], "big")
            bodies.append(rest[4:end])
            rest = rest[end:]
    return bodies


def unpacked(broker: BrokerDriver, arrived: Arrived, ops_by_id: dict[int, Op]) -> list[Answer]:
    """Return the replies in the messages that the loop would send."""
    answers = []
    for group in group_messages(arrived.replies):
        head = wire.pack_replies(
            broker.identity.incarnation, broker.clock.now().mono, 1, 1, [each.packed for each in group]
        )
        body = group[0].body
        frame = wire.unpack_replies([head] if body is None else [head, body])
        for reply in frame.replies:
            if reply.code:
                error = wire.unpack_error(reply.code, reply.result)
                assert error.code == reply.code
                answers.append(Answer(reply.id, reply.code, None, error.detail, tuple(error.fields.items())))
                continue
            result = wire.unpack_result(ops_by_id[reply.id], reply.result)
            if body is not None:
                holder = result.runs[0] if isinstance(result, ops.Batch) else result
                assert holder.body == b""
                holder.body = body
            answers.append(Answer(reply.id, "", result))
    return answers
