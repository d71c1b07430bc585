"""The broker's core against a plain model, over the packed wire, in every order that hypothesis thinks of."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.limits import Limits
from broker.state import MESSAGE_COST, SUBSCRIPTION_COST, TOPIC_COST
from common import ops, wire
from common.ops import Op
from tests.support.driver import STORE_ID, Answer, Asked, BrokerDriver, loaded
from tests.support.mirror import MirrorStore
from tests.support.model import Lost, Model
from tests.support.snapshot import check_state, snapshot

TOPICS = st.sampled_from([b"a", b"a", b"a", b"a", b"b", "\u00fcber".encode(), b"x" * 200])
USERS = st.sampled_from([b"u", b"u", b"v", b"a"])
BODIES = st.sampled_from([b"", b"one", b"two", b"\x00\xff" * 20, b"L" * wire.LARGE_BODY])
HEADERS = st.sampled_from([b"", b"", b"kept" * 10])
KINDS = ("begin", "right", "right", "older", "any", "newest", "too high", "foreign", "earlier life")
CURSORS = st.tuples(st.sampled_from(KINDS), st.integers(0, 10**6))
"""What kind of cursor a read with `after` has, and a number that chooses among those of the kind."""
CALLS = st.one_of(
    st.tuples(st.just(Op.SUBSCRIBE), TOPICS, USERS),
    st.tuples(st.just(Op.UNSUBSCRIBE), TOPICS, USERS),
    st.tuples(st.just(Op.PUBLISH), TOPICS, HEADERS, BODIES.filter(lambda body: len(body) < wire.LARGE_BODY)),
    st.tuples(st.just(Op.TAKE), TOPICS, USERS, st.none() | CURSORS),
    st.tuples(st.just(Op.LOOK), TOPICS, USERS),
)
LIMITS = st.builds(
    Limits,
    topics=st.sampled_from([4, 3, 1]),
    subscriptions=st.sampled_from([12, 6, 2]),
    topic_messages=st.sampled_from([12, 5, 1]),
    topic_bytes=st.sampled_from([50, 200, 20_000, 10**6]),
    memory=st.sampled_from(
        [2 * (TOPIC_COST + SUBSCRIPTION_COST) + 5 * MESSAGE_COST, 3 * TOPIC_COST + 20_000, 10**9, 10**9]
    ),
)


class BrokerMachine(RuleBasedStateMachine):
    """Every rule asks the broker and the model the same."""

    @initialize(limits=LIMITS)
    def start(self, limits: Limits) -> None:
        self.store = MirrorStore(STORE_ID)
        self.broker = BrokerDriver(limits, self.store)
        self.model = Model(STORE_ID, limits)
        self.committed = copy.deepcopy(self.model)

    def ask(self, *calls: tuple[Any, ...], body: bytes | None = None) -> None:
        asked, expected = [], []
        for op, topic, *rest in calls:
            if op is Op.PUBLISH:
                headers, content = rest
                args = ops.Publish(headers, b"" if body is not None else content)
                asked.append(Asked(op, topic, args=args))
                expected.append(self.model.publish(topic, headers, content, self.broker.clock.now().wall))
            elif op is Op.TAKE:
                user, cursor = rest
                args = ops.Take() if cursor is None else self.cursor(topic, user, *cursor)
                asked.append(Asked(op, topic, user, args))
                expected.append(self.model.take(topic, user, args))
            else:
                asked.append(Asked(op, topic, rest[0]))
                expected.append(getattr(self.model, op.name.lower())(topic, rest[0]))
        answers = self.broker.send(*asked, body=body)
        assert [outcome(answer) for answer in answers] == expected

    def cursor(self, name: bytes, user: bytes, kind: str, number: int) -> ops.Take:
        """A cursor of this kind, as things stand in the model."""
        topic = self.model.topics.get(name)
        if kind == "begin" or topic is None:
            return ops.Take(True)
        queue = topic.queues.get(user)
        done = queue[0].seq - 1 if queue else topic.published
        seq = {
            "right": done + 1,
            "older": number % (done + 1),
            "newest": topic.published,
            "too high": topic.published + 1 + number**3,
        }.get(kind, 1 + number % (topic.published + 1))
        epochs = {"foreign": f"{self.model.store_id}{number + self.model.lives + 1:x}", "earlier life": "0badcafe1"}
        return ops.Take(True, epochs.get(kind, topic.epoch), seq)

    @rule(topic=TOPICS, user=USERS)
    def subscribe(self, topic: bytes, user: bytes) -> None:
        self.ask((Op.SUBSCRIBE, topic, user))

    @rule(topic=TOPICS, user=USERS)
    def unsubscribe(self, topic: bytes, user: bytes) -> None:
        self.ask((Op.UNSUBSCRIBE, topic, user))

    @rule(topic=TOPICS, headers=HEADERS, body=BODIES)
    def publish(self, topic: bytes, headers: bytes, body: bytes) -> None:
        large = body if len(body) >= wire.LARGE_BODY else None
        self.ask((Op.PUBLISH, topic, headers, body), body=large)

    @rule(topic=TOPICS, user=USERS)
    def take(self, topic: bytes, user: bytes) -> None:
        self.ask((Op.TAKE, topic, user, None))

    @rule(topic=TOPICS, user=USERS, cursor=CURSORS)
    def read_after(self, topic: bytes, user: bytes, cursor: tuple[str, int]) -> None:
        self.ask((Op.TAKE, topic, user, cursor))

    @rule(topic=TOPICS, user=USERS)
    def look(self, topic: bytes, user: bytes) -> None:
        self.ask((Op.LOOK, topic, user))

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data(), cursors=st.lists(CURSORS, min_size=1, max_size=5))
    def a_subscriber_reads_after_some_cursors(self, data: st.DataObject, cursors: list[tuple[str, int]]) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.topics)))
        user = data.draw(st.sampled_from(sorted(self.model.topics[name].queues)))
        self.ask(*((Op.TAKE, name, user, cursor) for cursor in cursors))

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data())
    def somebody_reads_everything_and_confirms_it(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.topics)))
        user = data.draw(st.sampled_from(sorted(self.model.topics[name].queues)))
        self.ask((Op.TAKE, name, user, ("begin", 0)))
        self.ask(*[(Op.TAKE, name, user, ("right", 0))] * len(self.model.topics[name].queues[user]))
        assert self.broker.look(name, user).result.pending == 0

    @rule(calls=st.lists(CALLS, min_size=2, max_size=12))
    def many_in_one_message(self, calls: list[tuple[Any, ...]]) -> None:
        self.ask(*calls)

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data(), bodies=st.lists(BODIES.filter(lambda body: len(body) < 100), min_size=1, max_size=8))
    def a_live_topic_gets_messages(self, data: st.DataObject, bodies: list[bytes]) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.topics)))
        self.ask(*((Op.PUBLISH, name, b"", body) for body in bodies))

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data(), times=st.integers(1, 5))
    def a_subscriber_takes_some(self, data: st.DataObject, times: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.topics)))
        user = data.draw(st.sampled_from(sorted(self.model.topics[name].queues)))
        self.ask(*[(Op.TAKE, name, user, None)] * times)

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data())
    def everybody_takes_everything(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.topics)))
        for user, queue in list(self.model.topics[name].queues.items()):
            self.ask(*[(Op.TAKE, name, user, None)] * (len(queue) + 1))
        assert self.broker.state.topics[name].messages == 0

    @rule(seconds=st.sampled_from([0.001, 1, 3600]))
    def time_passes(self, seconds: float) -> None:
        self.broker.clock.advance(seconds)

    @rule(topic=TOPICS, user=USERS, late=st.sampled_from([0, -1, -(10**9)]))
    def a_late_request_is_not_executed(self, topic: bytes, user: bytes, late: int) -> None:
        for op in (Op.SUBSCRIBE, Op.UNSUBSCRIBE, Op.TAKE, Op.LOOK):
            assert self.broker.send(Asked(op, topic, user, timeout=late))[0].code == "expired"

    @rule()
    def the_burst_is_committed(self) -> None:
        self.broker.commit()
        self.committed = copy.deepcopy(self.model)
        assert snapshot(loaded(self.store)) == snapshot(self.broker.state)
        assert self.store.rows == (
            len(self.broker.state.topics) + self.broker.state.subscriptions + self.broker.state.messages
        )

    @rule(committed_before=st.sampled_from([True, True, True, False]))
    def the_broker_is_killed_and_goes_on_with_what_was_committed(self, committed_before: bool) -> None:
        if committed_before:
            self.the_burst_is_committed()
        self.broker.restart()
        self.model = copy.deepcopy(self.committed)

    @invariant()
    def the_state_is_that_of_the_model(self) -> None:
        state = self.broker.state
        check_state(state)
        assert state.topics_begun == self.model.lives
        assert state.topics.keys() == self.model.topics.keys()
        for name, wanted in self.model.topics.items():
            topic = state.topics[name]
            held = {seq: topic.piece(seq) for seq in range(topic.head_seq, topic.next_seq)}
            assert topic.epoch == wanted.epoch
            assert topic.next_seq == wanted.published + 1
            assert {user: topic.next_seq - each.position for user, each in topic.subscriptions.items()} == {
                user: len(queue) for user, queue in wanted.queues.items()
            }
            assert {seq: (piece.time, piece.headers, piece.body) for seq, piece in held.items()} == {
                seq: (each.time, each.headers, each.body) for seq, each in wanted.stored.items()
            }
        assert state.memory == self.model.memory <= self.broker.limits.memory


def outcome(answer: Answer) -> Any:
    if answer.code == "cursor-lost":
        return Lost(dict(answer.fields).get("oldest"))
    assert answer.fields == ()
    return answer.code or answer.result


TestBroker = BrokerMachine.TestCase
