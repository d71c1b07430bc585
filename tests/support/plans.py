"""Calls as hypothesis plans them, and the requests they become in the state of the model.

A plan is an operation, a topic, a user and further values; receipts and cursors are planned as a kind and a number
that chooses among those of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct as Layout
from typing import Any, NamedTuple

from hypothesis import strategies as st
from msgspec.structs import replace

from broker.operations.limits import Limits
from broker.state.piece import MESSAGE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic_settings import TopicSettings
from common.clock import Now
from common.protocol import ops
from common.protocol.ops import OPS, Op
from tests.support import model_admin
from tests.support.driver import SECOND, Answer, Asked, apart, batch
from tests.support.model import Model
from tests.support.model_mail import Got, Lost
from tests.support.model_user import ModelUser

Plan = tuple[Any, ...]
Some = st.SearchStrategy[Any]
LENGTH = Layout(">I")

TOPICS = st.sampled_from([b"a", b"a", b"a", b"a", b"b", "\u00fcber".encode(), b"x" * 200])
USERS = st.sampled_from([b"u", b"u", b"v", b"a", b"w"])
ANYWHERE = st.tuples(TOPICS, USERS)
"""Topics and users that need not exist."""
LIVE = st.integers(0, 9)
"""Chooses one of the existing subscriptions."""
BODIES = st.sampled_from([b"", b"one", b"two", b"\x00\xff" * 20])
HEADERS = st.sampled_from([b"", b"", b"kept" * 10])
SEVERAL = BODIES.map(lambda body: [body]) | st.lists(BODIES, min_size=2, max_size=5)
CURSORS = st.tuples(
    st.sampled_from(["right"] * 6 + ["begin", "older", "any", "newest", "too high", "foreign", "earlier life"]),
    st.integers(0, 10**6),
)
RECEIPTS = st.tuples(
    st.sampled_from(["good"] * 6 + ["stale", "future", "dead", "dead once", "done", "never", "foreign", "absurd"]),
    st.integers(0, 10**6),
)
LEASES = st.sampled_from([SECOND, 5 * SECOND, 30 * SECOND])
EXTENSIONS = st.sampled_from(
    [(0, 0), (0, 0), (0, SECOND), (0, 10 * SECOND), (SECOND, 0), (10 * SECOND, 0), (30 * SECOND, 0)]
)
SETTINGS = st.builds(
    ops.Settings,
    expires_after=st.sampled_from([None, None, None, 0, 5 * SECOND, 30 * SECOND]),
    max_deliveries=st.sampled_from([None, 0, 1, 2, 3]),
)
NO_SETTINGS = st.just(ops.Settings())
TTLS = st.sampled_from([0, 0, 0, 0, 1000, 5000, 30_000])
DELAYS = st.sampled_from([0, 0, 0, 0, 1, 1000, 5000, 10_000])
KEYS = st.sampled_from([b"", b"", b"", b"k", b"k", b"other" * 10, b"third"])
SIZES = st.tuples(st.sampled_from([1, 2, 3, 10]), st.sampled_from([10**6, 10**6, 60, 12, 1]))
CHANGES = st.builds(
    ops.TopicSettings,
    max_messages=st.sampled_from([None, 1, 3, 8, 10**6]),
    max_bytes=st.sampled_from([None, 50, 200, 10**9]),
    max_age=st.sampled_from([None, 0, 1000, 5000, 30_000]),
    drop_oldest=st.sampled_from([None, False, True]),
)
DIGESTS = st.sampled_from([b"d" * 16, b"d" * 16, b"d" * 16, b"e" * 16])

ROOMY = Limits(10**6, 10**6, 10**6, 10**9, 10**9)
TIGHT: list[tuple[str, int]] = [
    *(("topics", 1), ("topics", 2), ("subscriptions", 2), ("subscriptions", 4)),
    *(("topic_messages", 12), ("topic_messages", 5), ("topic_messages", 1), ("topic_bytes", 200), ("topic_bytes", 50)),
    *(("memory", 3 * TOPIC_COST + 20_000), ("memory", 8000), ("memory", 5000)),
    ("memory", 2 * (TOPIC_COST + SUBSCRIPTION_COST) + 5 * MESSAGE_COST),
    *(("leases", 3), ("leases", 1), ("leases", 1), ("lease_window", 3), ("lease_window", 0)),
    *(("dead", 2), ("dead", 1), ("dead_bytes", 60), ("dead_bytes", 0)),
    *(("topic_share", 100), ("topic_share", 50), ("subscription_share", 100), ("subscription_share", 25)),
    *(
        ("delayed", 2),
        ("delayed", 5),
        ("keys", 2),
        ("keys", 1),
        ("key_bytes", 1500),
        ("key_bytes", 1),
        ("key_ttl", 5 * SECOND),
    ),
]
LIMITS = st.lists(st.sampled_from(TIGHT), max_size=4).map(lambda some: ROOMY._replace(**dict(some)))
"""Most limits leave enough room, so that not everything is refused."""
CEILINGS = st.sampled_from(
    [
        None,
        None,
        TopicSettings(max_messages=6, drop_oldest=True),
        TopicSettings(max_messages=3, max_bytes=200, drop_oldest=True),
        TopicSettings(max_bytes=120, drop_oldest=True),
        TopicSettings(max_age=5000),
        TopicSettings(max_messages=8, max_age=30_000, drop_oldest=True),
        TopicSettings(max_messages=8, max_age=30_000),
    ]
)


def op(kind: Op, place: Some, *rest: Some) -> Some:
    return st.tuples(st.just(kind), place, *rest)


def publishing(place: Some, *, plain: bool = False) -> Some:
    """Plan a publish of one message, a batch, or messages apart; a plain one is in the log at once."""
    how = (TTLS, st.just(0), st.just(b""), st.just(b"")) if plain else (TTLS, DELAYS, KEYS, DIGESTS)
    together = op(Op.PUBLISH, place, HEADERS, SEVERAL, st.booleans(), *how)
    keyed = st.lists(st.tuples(BODIES, st.just(b"") if plain else KEYS), min_size=1, max_size=5)
    return together | op(Op.PUBLISH_APART, place, HEADERS, keyed, TTLS)


def leasing(place: Some) -> Some:
    return op(Op.TAKE, place, st.tuples(st.none(), LEASES)) | op(
        Op.FETCH, place, SIZES, st.tuples(st.none(), LEASES, st.just(False))
    )


def reading(place: Some) -> Some:
    """Plan a read, at most once or by cursor."""
    cursors = st.none() | CURSORS
    return op(Op.TAKE, place, st.tuples(cursors, st.just(0))) | op(
        Op.FETCH, place, SIZES, st.tuples(cursors, st.just(0), st.booleans())
    )


def receipts(place: Some) -> Some:
    return op(Op.FINISH, place, st.lists(RECEIPTS, min_size=1, max_size=4)) | op(Op.EXTEND, place, RECEIPTS, EXTENSIONS)


def handling(place: Some) -> Some:
    """Plan a call on a user's messages."""
    return leasing(place) | reading(place) | receipts(place)


def dead(place: Some) -> Some:
    how = st.tuples(st.sampled_from([0, 0, 1, 2, 5]), st.sampled_from([1, 2, 1000]), st.sampled_from([10**6, 3]))
    return st.one_of(op(Op.DEAD_LIST, place, how), op(Op.DEAD_RETURN, place), op(Op.DEAD_CLEAR, place))


def calls(place: Some) -> Some:
    """Plan any call on a topic except the end of a subscription."""
    return st.one_of(
        op(Op.SUBSCRIBE, place, NO_SETTINGS | SETTINGS) | op(Op.CONFIGURE, place, SETTINGS),
        op(Op.LOOK, place),
        publishing(place),
        leasing(place),
        reading(place),
        receipts(place),
        dead(place),
    )


def operating(place: Some) -> Some:
    """Plan a query or a change by the operator."""
    change = st.tuples(st.lists(st.sampled_from(model_admin.SETTINGS), max_size=3), CHANGES)
    return st.one_of(
        op(Op.TOPIC, place, st.tuples(st.sampled_from([b"", b"", b"u"]), st.sampled_from([1, 2, 10]))),
        op(Op.USER, place),
        op(Op.PEEK, place, SIZES),
        op(Op.TOPIC_CHANGE, place, change),
        op(Op.PURGE, place),
        looking_after_delayed(place),
    )


def looking_after_delayed(place: Some) -> Some:
    """Plan a listing or a removal of delayed publishes."""
    listed = st.tuples(st.sampled_from([0, 0, 1, 3]), st.sampled_from([1, 2, 10]), st.sampled_from([0, 10, 10**6]))
    return st.one_of(
        op(Op.DELAYED, place, listed),
        op(Op.DELAYED_END, place, st.integers(0, 9), st.sampled_from([0, 0, 0, 1])),
        op(Op.DELAYED_CLEAR, place, st.sampled_from([1, 2, 1000])),
    )


class Planner(NamedTuple):
    """Makes requests of plans, and asks the model for their results."""

    model: Model
    now: Now

    def resolve(self, plan: Plan) -> tuple[Asked, Any]:
        op, place, *rest = plan
        topic, user = place if isinstance(place, tuple) else self.live(place)
        args, answer = getattr(self, op.name.lower())(topic, user, *rest)
        return Asked(op, topic, user if OPS[op].on_user else b"", args), answer

    def live(self, number: int) -> tuple[bytes, bytes]:
        """Return one of the existing subscriptions."""
        places = [(name, user) for name, topic in self.model.topics.items() for user in topic.users]
        return places[number % len(places)] if places else (b"a", b"u")

    def subscribe(self, topic: bytes, user: bytes, args: ops.Settings) -> tuple[Any, Any]:
        return args, self.model.subscribe(topic, user, args, self.now)

    def configure(self, topic: bytes, user: bytes, args: ops.Settings) -> tuple[Any, Any]:
        return args, self.model.configure(topic, user, args, self.now)

    def unsubscribe(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        return ops.Nothing(), self.model.unsubscribe(topic, user)

    def publish(
        self, topic: bytes, user: bytes, headers: bytes, bodies: list[bytes], single: bool, *rest: Any
    ) -> tuple[Any, Any]:
        options = dict(zip(("ttl", "delay", "key", "digest"), rest, strict=True))
        if single and len(bodies) == 1:
            args = ops.Publish(headers, bodies[0], **options)
        else:
            args = batch(*bodies, headers=headers, **options)
        return args, self.model.publish(topic, args, bodies, self.now)

    def publish_apart(
        self, topic: bytes, user: bytes, headers: bytes, keyed: list[tuple[bytes, bytes]], ttl: int
    ) -> tuple[Any, Any]:
        bodies, keys = zip(*keyed, strict=True)
        args = apart(*bodies, headers=headers, ttl=ttl, keys=keys if any(keys) else ())
        return args, self.model.publish_apart(topic, args, bodies, self.now)

    def take(self, topic: bytes, user: bytes, how: tuple[Any, int]) -> tuple[Any, Any]:
        cursor, lease = how
        after = self.cursor(topic, user, *cursor) if cursor else (False, "", 0)
        args = ops.Take(*after, lease)
        return args, self.model.on(topic, user, lambda found: found.take(args, self.now), self.now)

    def fetch(self, topic: bytes, user: bytes, sizes: tuple[int, int], how: tuple[Any, int, bool]) -> tuple[Any, Any]:
        cursor, lease, one_run = how
        after = self.cursor(topic, user, *cursor) if cursor else (False, "", 0)
        args = ops.Fetch(*after, *sizes, one_run, lease)
        return args, self.model.on(topic, user, lambda found: found.read(args, self.now), self.now)

    def look(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        return ops.Nothing(), self.model.look(topic, user, self.now)

    def finish(self, topic: bytes, user: bytes, kinds: list[tuple[str, int]]) -> tuple[Any, Any]:
        receipts = [self.receipt(topic, user, *each) for each in kinds]
        return ops.Finish(receipts), self.model.on(topic, user, lambda found: found.finish(receipts), self.now)

    def extend(self, topic: bytes, user: bytes, kind: tuple[str, int], extension: tuple[int, int]) -> tuple[Any, Any]:
        args = ops.Extend(self.receipt(topic, user, *kind), *extension)
        return args, self.model.on(topic, user, lambda found: found.extend(args, self.now), self.now)

    def dead_list(self, topic: bytes, user: bytes, how: tuple[int, int, int]) -> tuple[Any, Any]:
        args = ops.ListDead(*how)
        return args, self.model.on(topic, user, lambda found: found.list_dead(args, self.now), self.now)

    def dead_return(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        return ops.Nothing(), self.model.on(topic, user, lambda found: found.return_dead(self.now), self.now)

    def dead_clear(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        return ops.Nothing(), self.model.on(topic, user, ModelUser.clear_dead, self.now)

    def topic(self, topic: bytes, user: bytes, how: tuple[bytes, int]) -> tuple[Any, Any]:
        args = ops.DescribeTopic(*how)
        return args, model_admin.describe(self.model, topic, args, self.now)

    def topic_change(self, topic: bytes, user: bytes, how: tuple[list[str], ops.TopicSettings]) -> tuple[Any, Any]:
        args = ops.ChangeTopic(*how)
        return args, model_admin.change(self.model, topic, args)

    def topic_end(self, topic: bytes, user: bytes, most: int) -> tuple[Any, Any]:
        args = ops.EndTopic(most)
        return args, model_admin.end(self.model, topic, args)

    def user(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        found = self.model.user(topic, user)
        return ops.Nothing(), model_admin.user_row(user, found, self.now) if found else "no-subscription"

    def peek(self, topic: bytes, user: bytes, sizes: tuple[int, int]) -> tuple[Any, Any]:
        found, args = self.model.user(topic, user), ops.Peek(*sizes)
        return args, model_admin.peek(found, args, self.now) if found else "no-subscription"

    def purge(self, topic: bytes, user: bytes) -> tuple[Any, Any]:
        found = self.model.user(topic, user)
        return ops.Nothing(), model_admin.purge(found, self.now) if found else "no-subscription"

    def delayed(self, topic: bytes, user: bytes, how: tuple[int, int, int]) -> tuple[Any, Any]:
        args = ops.ListDelayed(*how)
        return args, model_admin.delayed(self.model, topic, args)

    def delayed_end(self, topic: bytes, user: bytes, number: int, wrong: int) -> tuple[Any, Any]:
        """Return a delayed publish, perhaps of another topic. With `wrong`, its due time is another one."""
        aside = self.model.aside
        each = aside[number % len(aside)] if aside else None
        args = ops.EndDelayed(each.number, each.due + wrong) if each else ops.EndDelayed(number, 0)
        return args, model_admin.end_delayed(self.model, topic, args)

    def delayed_clear(self, topic: bytes, user: bytes, most: int) -> tuple[Any, Any]:
        args = ops.ClearDelayed(most)
        return args, model_admin.clear_delayed(self.model, topic, args)

    def pause(self, topic: bytes, user: bytes, on: bool) -> tuple[Any, Any]:
        self.model.paused = on
        return ops.Pause(on), ops.Nothing()

    def cursor(self, name: bytes, user: bytes, kind: str, number: int) -> tuple[bool, str, int]:
        """Return a cursor of this kind."""
        topic, found = self.model.topics.get(name), self.model.user(name, user)
        if kind == "begin" or topic is None:
            return True, "", 0
        position = found.position if found else topic.next_seq
        seq = {
            "right": position,
            "older": number % position,
            "newest": topic.next_seq - 1,
            "too high": topic.next_seq + number**3,
        }.get(kind, 1 + number % topic.next_seq)
        return True, self.epoch(topic.epoch, kind, number), seq

    def receipt(self, name: bytes, user: bytes, kind: str, number: int) -> ops.Receipt:
        """Return a receipt of this kind, or any if there is none."""
        found = self.model.user(name, user)
        if found is None:
            return ops.Receipt("0badcafe1", 1 + number % 9, 1)
        held, epoch = found.held(), self.epoch(found.topic.epoch, kind, number)
        if kind == "never":
            return ops.Receipt(epoch, found.position + number % 3, 1)
        if kind == "absurd":
            return ops.Receipt(epoch, *[(0, 1), (-1, 1), (2**62, 1), (1, 2**62), (1, 0), (1, -1)][number % 6])
        among = found.dead if kind.startswith("dead") else (held or found.dead) if kind != "done" else []
        if not among:
            return ops.Receipt(epoch, 1 + number % found.topic.next_seq, 1 + number % 3)
        item = among[number % len(among)]
        more = {"stale": -1, "dead once": -1, "future": 1 + number % 2}.get(kind, 0)
        return ops.Receipt(epoch, item.seq, item.attempt + more)

    def epoch(self, epoch: str, kind: str, number: int) -> str:
        lives = {"foreign": f"{self.model.store_id}{number + self.model.lives + 1:x}", "earlier life": "0badcafe1"}
        return lives.get(kind, epoch)


def outcome(answer: Answer) -> Any:
    """Return what a front reads according to the model."""
    fields = dict(answer.fields)
    if answer.code == "cursor-lost":
        return Lost(fields.pop("oldest", None))
    if answer.code == "bad-parameter":
        assert fields.pop("parameter") == "receipt"
    assert not fields
    if isinstance(answer.result, ops.Batch):
        messages = [message for run in answer.result.runs for message in unpacked(run)]
        return Got(answer.result.epoch, answer.result.pending, messages)
    if isinstance(answer.result, ops.PublishedApart):  # the words of a refusal are not in the model
        return replace(answer.result, refused=[(index, code, "") for index, code, _ in answer.result.refused])
    return answer.code or answer.result


def unpacked(run: ops.Run) -> Iterator[tuple[int, int, bytes, bytes, int]]:
    """Yield the messages of a run, each with the run's time, kept headers and attempt."""
    at = 0
    for seq in range(run.first, run.first + run.count):
        (size,) = LENGTH.unpack_from(run.body, at)
        body = run.body[at + LENGTH.size : at + LENGTH.size + size]
        assert len(body) == size
        yield seq, run.time, run.headers, body, run.attempt
        at += LENGTH.size + size
    assert at == len(run.body)
