"""The broker's core against a plain model, over the packed wire, in every order that hypothesis thinks of."""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.operations.limits import Limits
from broker.state.delivery_state import DeliveryState
from broker.state.leases import HeldEntry
from broker.state.subscription import Subscription
from broker.state.topic import Topic
from broker.state.topic_settings import TopicRule, TopicSettings
from broker.store.base import Owner, Store
from broker.store.sqlite.store import SqliteStore
from broker.thresholds import DEFAULT, Thresholds
from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.support.driver import SECOND, STORE_ID, Asked, BrokerDriver, loaded
from tests.support.mirror import MirrorStore
from tests.support.model import Model
from tests.support.model_mail import DELAYED, LEASED
from tests.support.model_topic import ModelTopic
from tests.support.model_user import ModelUser
from tests.support.plans import (
    ANYWHERE,
    CEILINGS,
    LIMITS,
    LIVE,
    NO_SETTINGS,
    SETTINGS,
    TOPICS,
    USERS,
    Plan,
    Planner,
    calls,
    dead,
    handling,
    leasing,
    looking_after_delayed,
    operating,
    outcome,
    publishing,
    reading,
    receipts,
)
from tests.support.snapshot import check_state, delivery_states_of, pieces_of, snapshot
from tests.support.tiny import TINY, TINY_STORE

STEPS = [0.001, 0.5, 4.999, 5, 5.001, 10, 30, 600]
"""Seconds that pass: leases, lives, delays and idle times are 1, 5, 10 and 30 s."""
AT_ONCE = TINY._replace(**{name: getattr(DEFAULT, name) for name in Thresholds._fields if name.startswith("due")})
"""Of kinds that are due at one moment the model does one after the other, and so does a turn that takes all of each."""


class BrokerMachine(RuleBasedStateMachine):
    """Every rule asks the broker and the model the same."""

    @initialize(limits=LIMITS, ceilings=CEILINGS, settings=SETTINGS, deliveries=st.sampled_from([0, 0, 1, 2]))
    def start(self, limits: Limits, ceilings: TopicSettings | None, settings: ops.Settings, deliveries: int) -> None:
        rules = [TopicRule(re.compile("a").fullmatch, *ceilings)] if ceilings else []
        limits = self.usable(limits)
        self.store = self.new_store()
        self.broker = BrokerDriver(limits, self.store, rules=rules, thresholds=AT_ONCE)
        self.model = Model(STORE_ID, limits, {b"a": ceilings} if ceilings else {})
        self.committed = pickle.dumps(self.model)
        self.ask(
            (Op.SUBSCRIBE, (b"a", b"u"), ops.Settings(max_deliveries=deliveries)),
            (Op.SUBSCRIBE, (b"a", b"v"), settings),
            (Op.SUBSCRIBE, (b"b", b"u"), ops.Settings()),
        )

    def usable(self, limits: Limits) -> Limits:
        return limits

    def new_store(self) -> Store:
        return MirrorStore(STORE_ID)

    def reopened(self) -> Store:
        """As another process finds it."""
        return self.store

    def kept(self) -> int:
        """How much the store holds."""
        assert isinstance(self.store, MirrorStore)
        return self.store.rows

    def ask(self, *plans: Plan, body: bytes | None = None) -> None:
        """All in one message, with the body of the only one beside it."""
        now = self.broker.clock.now()
        self.model.time_passed(now)
        planner = Planner(self.model, now)
        asked, expected = zip(*map(planner.resolve, plans), strict=True)
        if body is not None:
            asked[0].args.body = b""
        answers = self.broker.send(*asked, body=body)
        assert [outcome(answer) for answer in answers] == list(expected)

    @rule(plan=calls(ANYWHERE))
    def anything(self, plan: Plan) -> None:
        self.ask(plan)

    @rule(place=ANYWHERE)
    def somebody_unsubscribes(self, place: Any) -> None:
        self.ask((Op.UNSUBSCRIBE, place))

    @rule(place=ANYWHERE, settings=NO_SETTINGS | SETTINGS)
    def somebody_subscribes(self, place: Any, settings: ops.Settings) -> None:
        self.ask((Op.SUBSCRIBE, place, settings))

    @rule(plans=st.lists(calls(LIVE), min_size=2, max_size=8))
    def many_in_one_message(self, plans: list[Plan]) -> None:
        self.ask(*plans)

    @rule(plans=st.lists(publishing(LIVE, plain=True), min_size=1, max_size=5))
    def messages_are_published(self, plans: list[Plan]) -> None:
        self.ask(*plans)

    @rule(plan=publishing(LIVE), seconds=st.sampled_from([0, 1, 5, 600]))
    def a_publish_is_repeated(self, plan: Plan, seconds: int) -> None:
        """Which makes a difference with a key."""
        self.ask(plan)
        self.broker.clock.advance(seconds)
        self.ask(plan)

    @rule(plans=st.lists(leasing(LIVE), min_size=1, max_size=4))
    def workers_lease(self, plans: list[Plan]) -> None:
        self.ask(*plans)

    def of(self, number: int, plans: list[Plan]) -> list[Plan]:
        """The same plans for one subscription."""
        return [(op, number, *rest) for op, _, *rest in plans]

    @rule(
        worker=LIVE,
        messages=st.lists(publishing(LIVE, plain=True), min_size=1, max_size=2),
        leases=st.lists(leasing(LIVE), min_size=1, max_size=3),
        then=st.lists(handling(LIVE), min_size=1, max_size=4),
    )
    def a_worker_dies(self, worker: int, messages: list[Plan], leases: list[Plan], then: list[Plan]) -> None:
        """All leases of a reader end, and other readers continue with its messages."""
        self.ask(*self.of(worker, messages + leases))
        self.leases_end(30, worker)
        self.ask(*self.of(worker, then))

    @rule(
        worker=LIVE,
        messages=st.lists(publishing(LIVE, plain=True), min_size=1, max_size=2),
        then=st.lists(handling(LIVE) | publishing(LIVE, plain=True), min_size=1, max_size=6),
        back=st.booleans(),
        most=st.sampled_from([0, 1, 2]),
    )
    def messages_die(self, worker: int, messages: list[Plan], then: list[Plan], back: bool, most: int) -> None:
        """Whatever is done with them they are dead; perhaps they are put back."""
        lease = (Op.FETCH, worker, (10, 10**6), (None, 5 * SECOND, False))
        self.ask((Op.CONFIGURE, worker, ops.Settings(max_deliveries=1)), *self.of(worker, messages), lease)
        self.leases_end(5, worker)
        settings = (Op.CONFIGURE, worker, ops.Settings(max_deliveries=most))
        self.ask(settings, *[(Op.DEAD_RETURN, worker)] * back, *self.of(worker, then))

    @rule(worker=LIVE, plan=publishing(LIVE, plain=True), then=st.lists(receipts(LIVE), min_size=1, max_size=4))
    def work_is_put_off(self, worker: int, plan: Plan, then: list[Plan]) -> None:
        """Given back for later, and as much as may be is leased beside it."""
        lease = (Op.FETCH, worker, (10, 10**6), (None, 5 * SECOND, False))
        put_off = (Op.EXTEND, worker, ("good", 0), (0, 10 * SECOND))
        self.ask(*self.of(worker, [plan]), (Op.TAKE, worker, (None, SECOND)), put_off, lease, *self.of(worker, then))

    @rule(user=LIVE, spans=st.lists(st.sampled_from([0, 5, 30, 600]), min_size=1, max_size=2))
    def a_user_is_idle(self, user: int, spans: list[int]) -> None:
        for span in spans:
            self.ask((Op.CONFIGURE, user, ops.Settings(expires_after=span * SECOND)))
        self.leases_end(5, user)

    @precondition(lambda self: self.model.settings(b"a").max_messages < 10)
    @rule(seconds=st.sampled_from([0.001, 0.5, 1]))
    def a_delayed_publish_finds_no_room_at_first(self, seconds: float) -> None:
        publish = (Op.PUBLISH, (b"a", b""), b"", [b"late"], True)
        self.ask((*publish, 0, 1000, b"", b""), *[(*publish, 0, 0, b"", b"")] * 10)
        self.leases_end(1, 0)
        self.everybody_takes(b"a")
        self.broker.clock.advance(seconds)
        self.ask((Op.LOOK, 0))

    @rule(plans=st.lists(receipts(LIVE), min_size=1, max_size=3))
    def workers_send_receipts(self, plans: list[Plan]) -> None:
        self.ask(*plans)

    @rule(plans=st.lists(reading(LIVE), min_size=1, max_size=4))
    def readers_read(self, plans: list[Plan]) -> None:
        self.ask(*plans)

    @rule(plan=dead(LIVE), look=LIVE)
    def dead_letters_are_looked_after(self, plan: Plan, look: int) -> None:
        self.ask(plan, (Op.LOOK, look))

    @rule(plans=st.lists(operating(LIVE), min_size=1, max_size=3), publish=publishing(LIVE, plain=True), look=LIVE)
    def the_operator_looks_and_changes_something(self, plans: list[Plan], publish: Plan, look: int) -> None:
        self.ask(*plans, publish, (Op.USER, look))

    @rule(
        user=LIVE,
        messages=st.lists(publishing(LIVE, plain=True), min_size=1, max_size=3),
        leases=st.lists(leasing(LIVE), min_size=1, max_size=2),
        most=st.sampled_from([1, 2, 3]),
        then=st.lists(operating(LIVE) | handling(LIVE), min_size=1, max_size=4),
    )
    def the_head_moves_over_what_is_leased(
        self, user: int, messages: list[Plan], leases: list[Plan], most: int, then: list[Plan]
    ) -> None:
        settings = ops.TopicSettings(max_messages=most, drop_oldest=True)
        self.ask(*self.of(user, messages + leases))
        self.ask(
            (Op.TOPIC_CHANGE, user, (["max_messages", "drop_oldest"], settings)),
            *self.of(user, messages),
            *self.of(user, then),
        )

    @rule(user=LIVE, publish=publishing(LIVE, plain=True), lease=leasing(LIVE), seconds=st.sampled_from([1, 5, 29, 30]))
    def a_worker_is_purged_while_he_leases(self, user: int, publish: Plan, lease: Plan, seconds: int) -> None:
        """The idle time of the user, which was stopped, continues."""
        settings = (Op.CONFIGURE, user, ops.Settings(expires_after=30 * SECOND))
        self.ask(settings, *self.of(user, [publish, lease]))
        self.broker.clock.advance(seconds)
        self.ask((Op.PURGE, user), (Op.USER, user), (Op.PEEK, user, (10, 10**6)))
        self.leases_end(29, user)

    @rule(
        place=LIVE,
        publishes=st.lists(publishing(LIVE), min_size=2, max_size=5),
        then=st.lists(looking_after_delayed(LIVE), min_size=1, max_size=4),
    )
    def delayed_publishes_are_looked_after(self, place: int, publishes: list[Plan], then: list[Plan]) -> None:
        later = [(*each[:6], 5000, *each[7:]) if each[0] is Op.PUBLISH else each for each in publishes]
        self.ask(*later, *self.of(place, then))

    @rule(topic=TOPICS, most=st.sampled_from([1000, 1000, 0]), look=LIVE)
    def the_operator_ends_a_topic(self, topic: bytes, most: int, look: int) -> None:
        self.ask((Op.TOPIC_END, (topic, b""), most), (Op.LOOK, look))

    @rule(plans=st.lists(calls(LIVE) | operating(LIVE), min_size=1, max_size=4), place=ANYWHERE, killed=st.booleans())
    def the_operator_pauses_the_broker_for_a_while(self, plans: list[Plan], place: Any, killed: bool) -> None:
        self.ask((Op.PAUSE, 0, True), *plans, (Op.SUBSCRIBE, place, ops.Settings()))
        self.leases_end(5, 0)
        if killed:
            self.the_broker_is_killed_and_goes_on_with_what_was_committed(committed_before=True)
        else:
            self.ask((Op.PAUSE, 0, False))

    @rule(topic=TOPICS)
    def a_large_body_is_published(self, topic: bytes) -> None:
        body = b"L" * wire.LARGE_BODY
        self.ask((Op.PUBLISH, (topic, b""), b"kept", [body], True, 0, 0, b"", b""), body=body)

    @precondition(lambda self: self.model.topics)
    @rule(data=st.data())
    def everybody_takes_everything(self, data: st.DataObject) -> None:
        self.ask((Op.LOOK, 0))
        name = data.draw(st.sampled_from([*sorted(self.model.topics), b"gone"]))
        self.everybody_takes(name)

    def everybody_takes(self, name: bytes) -> None:
        topic = self.model.topics.get(name)
        for user, found in topic.users.items() if topic else ():
            takes: list[Plan] = [(Op.TAKE, (name, user), (None, 0))] * (len(found.items) + 1)
            for start in range(0, len(takes), wire.MAX_REQUESTS):  # more do not fit a message
                self.ask(*takes[start : start + wire.MAX_REQUESTS])
        if topic and not any(found.held() for found in topic.users.values()):
            assert self.broker.state.topics[name].messages == 0

    @rule(seconds=st.sampled_from([1, 1, 5, 30]), look=LIVE)
    def leases_end(self, seconds: int, look: int) -> None:
        self.broker.clock.advance(seconds)
        self.ask((Op.LOOK, look))

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds: float) -> None:
        self.broker.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600, -1, -0.01, 0.01, 1, 3600, 86400]))
    def the_system_clock_is_set(self, seconds: float) -> None:
        """For a while or for good: all that changes are the dates, once it has held."""
        self.broker.clock.set_wall(seconds)
        self.broker.clock.advance(0.001)  # what was published in the same millisecond might have either date

    @rule()
    def time_passes_until_something_is_due(self) -> None:
        patience = self.broker.dispatcher.patience(self.broker.clock.now())
        if patience is not None:
            self.broker.clock.advance(max(0, patience) / 1000)
        self.ask((Op.LOOK, 0))

    @rule(topic=TOPICS, user=USERS, late=st.sampled_from([0, -1, -(10**9)]))
    def a_late_request_is_not_executed(self, topic: bytes, user: bytes, late: int) -> None:
        self.model.time_passed(self.broker.clock.now())
        for op in (Op.SUBSCRIBE, Op.UNSUBSCRIBE, Op.TAKE, Op.LOOK, Op.DEAD_CLEAR):
            args = ops.OPS[op].args()
            assert self.broker.send(Asked(op, topic, user, args, timeout=late))[0].code == "expired"

    @rule()
    def the_burst_is_committed(self) -> None:
        self.broker.state.garbage.collect(1000)  # as some turns of the loop do
        self.broker.commit()
        self.committed = pickle.dumps(self.model)
        for _ in range(100):
            self.store.reclaim()
        assert snapshot(loaded(self.store)) == snapshot(self.broker.state)
        assert self.kept() == rows(self.model)

    @rule(committed_before=st.sampled_from([True, True, True, False]))
    def the_broker_is_killed_and_goes_on_with_what_was_committed(self, committed_before: bool) -> None:
        if committed_before:
            self.the_burst_is_committed()
        self.store = self.broker.store = self.reopened()
        self.broker.restart()
        self.model = pickle.loads(self.committed)
        self.model.restarted()

    @invariant()
    def the_state_is_that_of_the_model(self) -> None:
        state = self.broker.state
        check_state(state)
        assert state.topics_begun == self.model.lives
        assert state.topics.keys() == self.model.topics.keys()
        for name, wanted in self.model.topics.items():
            same_topic(state.topics[name], wanted)
        assert len(state.delayed) == len(self.model.aside)
        assert len(state.keys) == len(self.model.keys)
        assert state.memory - state.garbage.memory + state.bodies.away_bytes == self.model.memory()
        assert state.memory - state.delivery_totals.bytes <= self.broker.limits.memory
        assert happened(self.broker.dispatcher.counters) == happened(self.model.counts)


def happened(counters: Mapping[str, int]) -> dict[str, int]:
    """What became of messages, by name."""
    told = {name: n for name, n in counters.items() if n and "." in name and not name.startswith("errors.")}
    return told | {"published": counters["published"]}


def same_topic(topic: Topic, wanted: ModelTopic) -> None:
    assert tuple(topic.settings) == tuple(wanted.settings)
    assert (topic.epoch, topic.head_seq, topic.next_seq) == (wanted.epoch, wanted.head, wanted.next_seq)
    assert [(each.first, each.count, each.time, each.size, each.expires) for each in pieces_of(topic)] == wanted.pieces
    assert topic.subscriptions.keys() == wanted.users.keys()
    for user, found in wanted.users.items():
        same_user(topic.subscriptions[user], found)


def same_user(subscription: Subscription, wanted: ModelUser) -> None:
    assert subscription.position == wanted.position
    delivery = subscription.delivery
    if delivery is None:
        assert not wanted.weight()
        return
    assert {seq: (each.attempt, each.until_us, each.due_us) for seq, each in delivery.leases.held.items()} == {
        each.seq: (
            each.attempt,
            each.until if each.state == LEASED else 0,
            each.until if each.state == DELAYED else 0,
        )
        for each in wanted.held()
    }
    assert [(seq, each.attempt) for seq, each in delivery.dead.letters.items()] == [
        (each.seq, each.attempt) for each in wanted.dead
    ]
    assert (delivery.expires_after, delivery.max_deliveries) == (wanted.expires_after, wanted.max_deliveries)


def rows(model: Model) -> int:
    """What a store needs to keep."""
    users = model.users()
    of_users = sum(
        1 + bool(each.expires_after or each.max_deliveries) + len(each.held()) + len(each.dead) for each in users
    )
    pieces = sum(len(topic.pieces) for topic in model.topics.values())
    changed = sum(bool(topic.own) for topic in model.topics.values())
    return len(model.topics) + changed + pieces + of_users + len(model.aside) + len(model.keys)


class SqliteMachine(BrokerMachine):
    """The same on the durable store, on a disk of memory; bodies are read from it again."""

    def new_store(self) -> Store:
        self.folder = Path(tempfile.mkdtemp(prefix="fm-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        return self.open()

    def usable(self, limits: Limits) -> Limits:
        """The model does not know which bodies are in memory."""
        return limits._replace(memory=10**9)

    def open(self) -> SqliteStore:
        return SqliteStore(self.folder, Owner("fanmail", "b0"), STORE_ID, reserve=0, thresholds=TINY_STORE)

    def reopened(self) -> Store:
        self.store.close()
        return self.open()

    def kept(self) -> int:
        assert isinstance(self.store, SqliteStore)
        put_back = sum(
            each.letter is not None for delivery in delivery_states_of(self.broker.state) for each in held_of(delivery)
        )
        kept = "topics topic_settings pieces subscriptions settings held letters delayed keys"
        counts = [self.store._db.execute(f"SELECT count(*) FROM {each}").fetchall()[0][0] for each in kept.split()]
        return sum(map(int, counts)) - put_back

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def held_of(delivery: DeliveryState) -> list[HeldEntry]:
    return list(delivery.leases.held.values())


TestBroker = BrokerMachine.TestCase
TestBrokerOnSqlite = SqliteMachine.TestCase
