"""The contract of a store, over every store there is; and what the broker does where a commit fails.

A store joins by a row in STORES: how it is opened (again) on a folder, and whether it outlives a restart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path
from typing import get_args

import apsw
import pytest

from broker.errors import StoreError
from broker.records import (
    MessageStored,
    Payload,
    PiecesFreed,
    Record,
    StoreOpened,
    SubscriptionEnded,
    SubscriptionSet,
    TopicBegan,
    TopicEnded,
)
from broker.store.base import Owner, Store
from broker.store.memory import MemoryStore
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.thresholds import DEFAULT, StoreThresholds
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import SECOND, STORE_ID, Asked, BrokerDriver, loaded
from tests.support.life import LIFE, live
from tests.support.mirror import FailingStore, MirrorStore
from tests.support.snapshot import snapshot

_mirrors: dict[Path, MirrorStore] = {}


def open_mirror(folder: Path) -> Store:
    """The same folder, the same store: what a file would be."""
    return _mirrors.setdefault(folder, MirrorStore(STORE_ID))


def open_memory(folder: Path) -> Store:
    return MemoryStore(random.Random(str(folder)).randbytes(4).hex())


def open_sqlite(folder: Path, thresholds: StoreThresholds = DEFAULT) -> Store:
    return SqliteStore(folder, Owner("fanmail", "b0"), STORE_ID, reserve=0, thresholds=thresholds)


@dataclass
class Stores:
    """One kind of store under test, on a folder of its own."""

    open_one: Callable[[Path], Store]
    durable: bool
    folder: Path
    opened: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        """As a broker process that starts, the one before being gone."""
        for each in self.opened:
            each.close()
        self.opened.append(self.open_one(self.folder))
        return self.opened[-1]

    def broker(self) -> BrokerDriver:
        return BrokerDriver(store=self.open())

    def restarted(self, broker: BrokerDriver) -> BrokerDriver:
        """The broker is killed, and another process starts on the same folder."""
        return BrokerDriver(store=self.open(), clock=broker.clock)


STORES = {"memory": (open_memory, False), "mirror": (open_mirror, True), "sqlite": (open_sqlite, True)}


@pytest.fixture(params=STORES)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    stores = Stores(*STORES[request.param], tmp_path)
    yield stores
    for each in stores.opened:
        each.close()
        each.close()
    _mirrors.pop(tmp_path, None)


@pytest.fixture(params=[name for name, (_, durable) in STORES.items() if durable])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    stores = Stores(*STORES[request.param], tmp_path)
    yield stores
    for each in stores.opened:
        each.close()
    _mirrors.pop(tmp_path, None)


# --- every store


def test_an_empty_store_says_who_it_is_and_nothing_more(stores: Stores) -> None:
    (opened,) = stores.open().load()
    assert isinstance(opened, StoreOpened)
    assert opened.store_id
    assert opened.topics_begun == 0


def test_commit_takes_every_kind_of_record(stores: Stores) -> None:
    live(stores.broker(), LIFE)


def test_every_kind_of_record_is_tried() -> None:
    tried = {type(record).__name__ for burst in LIFE for record in burst}
    by_themselves = {"StoreOpened", "PiecesFreed", "PieceDamaged"}
    assert {kind.__name__ for kind in get_args(Record)} - tried <= by_themselves


def test_a_broker_serves_the_same_whatever_its_store(stores: Stores) -> None:
    broker = stores.broker()
    assert broker.subscribe(b"t", b"u").result.created
    broker.commit()
    assert [broker.publish(b"t", body).result.seq for body in (b"1", b"2")] == [1, 2]
    broker.commit()
    assert broker.bodies(b"t", b"u") == [b"1", b"2"]
    broker.commit()
    broker.unsubscribe(b"t", b"u")
    broker.commit()
    assert not broker.state.topics


def test_a_store_can_be_closed_twice(stores: Stores) -> None:
    store = stores.open()
    list(store.load())
    store.close()
    store.close()


def test_no_id_of_an_earlier_life_fits_a_new_topic(stores: Stores) -> None:
    broker = stores.broker()
    epochs = set()
    for _ in range(3):
        broker.subscribe(b"t", b"u")
        epochs.add(broker.publish(b"t", b"x").result.epoch)
        broker.unsubscribe(b"t", b"u")
        broker.commit()
    if stores.durable:
        broker = stores.restarted(broker)
        broker.subscribe(b"t", b"u")
        epochs.add(broker.publish(b"t", b"x").result.epoch)
        assert len(epochs) == 4
    else:
        assert len(epochs) == 3


def test_two_memory_stores_of_two_starts_have_different_epochs(tmp_path: Path) -> None:
    epochs = []
    for store_id in ("00000001", "00000002"):
        broker = BrokerDriver(store=MemoryStore(store_id))
        broker.subscribe(b"t", b"u")
        epochs.append(broker.publish(b"t", b"x").result.epoch)
    assert epochs == ["000000011", "000000021"]


# --- durable stores


def test_what_was_committed_is_there_again(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"slow")
    broker.subscribe(b"t", b"fast")
    for number in range(5):
        broker.publish(b"t", b"%d" % number, b"headers")
        broker.clock.advance(1)
    broker.take(b"t", b"fast")
    broker.take(b"t", b"slow")
    broker.subscribe("\u00e4/\u2603".encode(), b"\xc3\xbc")
    broker.commit()
    before = snapshot(broker.state)
    again = durable.restarted(broker)
    assert snapshot(again.state) == before
    assert again.bodies(b"t", b"slow") == [b"1", b"2", b"3", b"4"]
    assert again.publish(b"t", b"next").result.seq == 6


@pytest.mark.parametrize("bursts", range(1, len(LIFE) + 1))
def test_every_kind_of_record_is_there_again(durable: Stores, bursts: int) -> None:
    broker = live(durable.broker(), LIFE[:bursts])
    again = durable.restarted(broker)
    assert snapshot(again.state) == snapshot(broker.state)
    live(again, LIFE[bursts:])
    live(broker, LIFE[bursts:], committed=False)
    assert snapshot(durable.restarted(again).state) == snapshot(broker.state), "and it continues from there"


@pytest.mark.parametrize("burst", range(1, len(LIFE)))
def test_a_burst_that_was_not_committed_leaves_nothing(durable: Stores, burst: int) -> None:
    broker = live(durable.broker(), LIFE[:burst])
    before = snapshot(broker.state)
    live(broker, LIFE[burst : burst + 1], committed=False)
    assert snapshot(durable.restarted(broker).state) == before


def test_what_is_loaded_comes_in_the_order_that_the_records_describe(durable: Stores) -> None:
    live(durable.broker(), takewhile(lambda burst: not isinstance(burst[0], SubscriptionEnded), LIFE))
    records = list(durable.open().load())
    kinds = [type(record).__name__ for record in records]
    assert kinds[0] == "StoreOpened"
    assert [kind for kind, _ in groupby(kinds)][-2:] == ["KeyRemembered", "PublishDelayed"]
    of_user = [kind for kind, record in zip(kinds, records, strict=True) if getattr(record, "user", b"u") == b"u"]
    assert [kind for kind, _ in groupby(of_user)] == [
        *("StoreOpened", "CalendarSet", "TopicBegan", "TopicChanged", "MessageStored"),
        *("SubscriptionSet", "SettingsSet", "DeadLettered", "DeadReturned", "Leased", "Returned"),
        *("KeyRemembered", "PublishDelayed"),
    ]


def test_leases_delays_and_attempts_go_on_over_a_restart(durable: Stores) -> None:
    broker = durable.broker()
    broker.ask(Op.SUBSCRIBE, b"t", b"u", ops.Settings(max_deliveries=2))
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body, b"kept")
    epoch = broker.lease(b"t", b"u", 10).result.epoch
    broker.lease(b"t", b"u", 30)
    broker.ask(Op.EXTEND, b"t", b"u", ops.Extend(ops.Receipt(epoch, 2, 1), 0, 20 * SECOND))
    broker.commit()
    broker.clock.advance(10)
    again = durable.restarted(broker)
    first = again.lease(b"t", b"u", 10).result
    assert (first.seq, first.attempt, first.headers, first.body) == (1, 2, b"kept", b"1")
    assert again.lease(b"t", b"u", 1000).result.seq == 3
    again.commit()
    again.clock.advance(10)
    once_more = durable.restarted(again)
    second = once_more.lease(b"t", b"u", 10).result
    assert (second.seq, second.attempt) == (2, 2)
    letters = once_more.ask(Op.DEAD_LIST, b"t", b"u", ops.ListDead(0, 10, 1000)).result.letters
    assert [(each.seq, each.attempt, each.headers, each.body) for each in letters] == [(1, 2, b"kept", b"1")]


def test_dead_letters_outlive_their_log_and_come_back(durable: Stores) -> None:
    broker = durable.broker()
    broker.ask(Op.SUBSCRIBE, b"t", b"u", ops.Settings(max_deliveries=1))
    for body in (b"1", b"2"):
        broker.publish(b"t", body)
    late = [broker.lease(b"t", b"u", seconds).result.seq for seconds in (2, 1)]
    for _ in late:
        broker.clock.advance(1)
        broker.look(b"t", b"u")
    broker.commit()
    again = durable.restarted(broker)
    assert again.state.messages == 0
    assert list(again.state.topics[b"t"].subscriptions[b"u"].delivery.dead.letters) == [2, 1], "as they died"
    assert again.ask(Op.DEAD_RETURN, b"t", b"u").result.count == 2
    again.commit()
    once_more = durable.restarted(again)
    leases = [once_more.lease(b"t", b"u", 10).result for _ in late]
    assert [(each.body, each.attempt) for each in leases] == [(b"1", 2), (b"2", 2)]
    once_more.commit()
    held = durable.restarted(once_more).state.topics[b"t"].subscriptions[b"u"].delivery.leases.held
    assert {seq: (each.attempt, each.deliveries) for seq, each in held.items()} == {1: (2, 1), 2: (2, 1)}


def test_a_delayed_publish_and_its_key_outlive_a_restart(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"u")
    later = ops.Publish(b"h", b"later", ttl=5000, delay=10_000, key=b"k", digest=b"d" * 16)
    due = broker.ask(Op.PUBLISH, b"t", args=later).result.due_ms
    broker.commit()
    again = durable.restarted(broker)
    again.clock.advance(9.999)
    replayed = again.ask(Op.PUBLISH, b"t", args=later).result
    assert (replayed.due_ms, replayed.replayed) == (due, True)
    assert again.take(b"t", b"u").result is None
    again.clock.advance(0.001)
    got = again.take(b"t", b"u").result
    assert (got.seq, got.time, got.body) == (1, due, b"later")
    again.commit()
    assert durable.restarted(again).take(b"t", b"u").result is None


def test_the_idle_clock_starts_anew_with_the_broker(durable: Stores) -> None:
    broker = durable.broker()
    broker.ask(Op.SUBSCRIBE, b"t", b"u", ops.Settings(expires_after=10 * SECOND))
    broker.commit()
    broker.clock.advance(9)
    again = durable.restarted(broker)
    assert again.look(b"t", b"u").code == ""
    again.clock.advance(9)
    assert again.look(b"t", b"u").code == ""
    again.clock.advance(1)
    assert again.look(b"t", b"u").code == "no-subscription"
    again.commit()
    assert not durable.restarted(again).state.topics


def test_what_was_not_committed_is_not_there(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"u")
    broker.commit()
    broker.publish(b"t", b"lost, and answered to nobody")
    again = durable.restarted(broker)
    assert again.take(b"t", b"u").result is None
    assert again.publish(b"t", b"x").result.seq == 1


def test_the_bytes_come_back_as_they_were(durable: Stores) -> None:
    bodies = [b"", b"\x00", bytes(range(256)), b"\xff" * 100_000, b"'; DROP TABLE messages; --"]
    name = bytes(range(0x20, 0x7F)) + "\U0001f600".encode()
    broker = durable.broker()
    broker.subscribe(name, name)
    for body in bodies:
        broker.publish(name, body, b"\x92\x00\xff")
    broker.commit()
    again = durable.restarted(broker)
    assert again.state.bodies.with_content(again.state.topics[name].piece(1)).headers == b"\x92\x00\xff"
    assert again.bodies(name, name) == bodies


def test_nobody_gets_a_message_twice_or_misses_one_over_a_restart(durable: Stores) -> None:
    broker = durable.broker()
    users = [b"a", b"b", b"c"]
    got: dict[bytes, list[bytes]] = {user: [] for user in users}
    for user in users:
        broker.subscribe(b"t", user)
    rng = random.Random(3)
    published = 0
    for _ in range(30):
        for _ in range(rng.randrange(4)):
            broker.publish(b"t", b"%d" % published)
            published += 1
        for user in users:
            for _ in range(rng.randrange(3)):
                if taken := broker.take(b"t", user).result:
                    got[user].append(taken.body)
        broker.commit()
        broker = durable.restarted(broker)
    for user in users:
        assert got[user] + broker.bodies(b"t", user) == [b"%d" % n for n in range(published)]


def test_numbers_go_on_where_everything_was_read(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"1")
    broker.bodies(b"t", b"u")
    broker.commit()
    again = durable.restarted(broker)
    assert again.state.messages == 0
    assert again.publish(b"t", b"2").result.seq == 2


def test_an_ended_topic_leaves_nothing_and_its_number_is_not_given_out_again(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"u")
    first = broker.publish(b"t", b"1").result
    broker.unsubscribe(b"t", b"u")
    broker.commit()
    again = durable.restarted(broker)
    assert not again.state.topics
    assert again.state.topics_begun == 1
    again.subscribe(b"t", b"u")
    second = again.publish(b"t", b"1").result
    assert (first.seq, second.seq) == (1, 1)
    assert first.epoch != second.epoch


def test_a_topic_that_ends_and_begins_within_one_burst_is_the_new_one(durable: Stores) -> None:
    broker = durable.broker()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"old")
    broker.commit()
    broker.take(b"t", b"u")
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"v")
    broker.publish(b"t", b"new")
    broker.commit()
    again = durable.restarted(broker)
    assert snapshot(again.state) == snapshot(broker.state)
    assert again.bodies(b"t", b"v") == [b"new"]


def test_the_syncs_of_a_commit_are_timed_and_no_others(tmp_path: Path) -> None:
    clock = itertools.count(0, 5_000_000)  # each sync takes 5 ms
    store = SqliteStore(tmp_path, Owner("fanmail", "b0"), STORE_ID, 0, clock.__next__)
    broker = BrokerDriver(store=store)
    for number in range(3):
        broker.subscribe(b"t", b"%d" % number)
        broker.commit()
        assert store.synced_us in (5_000, 10_000), "of the log, and of its head when it is new"
        before = next(clock)
        store._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        assert next(clock) > before + 5_000_000, "it was synced between the commits"
    store.close()


def test_what_is_kept_is_in_proportion_to_what_is_alive() -> None:
    store = MirrorStore(STORE_ID)
    broker = BrokerDriver(store=store)
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    for number in range(500):
        broker.publish(b"t", b"%d" % number)
        broker.take(b"t", b"u")
        broker.take(b"t", b"v")
        broker.commit()
        assert store.rows == 3
    broker.unsubscribe(b"t", b"u")
    broker.unsubscribe(b"t", b"v")
    broker.commit()
    assert store.rows == 0


# --- a long log is deleted in parts


@pytest.fixture
def long_logs(tmp_path: Path) -> Iterator[Stores]:
    """A SQLite store that deletes two pieces at a time, each a group of its own."""
    stores = Stores(
        partial(open_sqlite, thresholds=StoreThresholds(group=1, deleted_groups=2, reclaimed_groups=2)), True, tmp_path
    )
    yield stores
    for each in stores.opened:
        each.close()


def pieces_stored(stores: Stores) -> int:
    """Rows of pieces in the file."""
    store = stores.opened[-1]
    assert isinstance(store, SqliteStore)
    return int(store._db.execute("SELECT count(*) FROM pieces").fetchall()[0][0])


def test_what_an_ended_topic_left_behind_is_never_taken_for_a_later_message(long_logs: Stores) -> None:
    broker = long_logs.broker()
    broker.subscribe(b"old", b"u")
    for _ in range(10):
        broker.publish(b"old", b"x")
    broker.commit()
    broker.unsubscribe(b"old", b"u")
    broker.commit()
    assert pieces_stored(long_logs) == 8, "the rest is still to be deleted when the broker is killed"
    again = long_logs.restarted(broker)
    assert not again.state.topics
    again.subscribe(b"new", b"u")
    for number in range(6):
        again.publish(b"new", b"%d" % number)
    again.commit()
    for _ in range(10):
        long_logs.opened[-1].reclaim()
    assert pieces_stored(long_logs) == 6
    assert long_logs.restarted(again).bodies(b"new", b"u") == [b"%d" % number for number in range(6)]


def test_what_a_head_moved_over_does_not_come_back(long_logs: Stores) -> None:
    broker = long_logs.broker()
    broker.subscribe(b"t", b"u")
    for number in range(10):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    broker.dispatcher.context.move_head(broker.state.topics[b"t"], 9, "overflow")
    broker.commit()
    assert pieces_stored(long_logs) > 2
    again = long_logs.restarted(broker)
    assert snapshot(again.state)["topics"] == snapshot(broker.state)["topics"]
    assert again.bodies(b"t", b"u") == [b"8", b"9"]


def test_what_was_read_and_is_still_to_be_deleted_is_freed_after_a_restart(long_logs: Stores) -> None:
    broker = long_logs.broker()
    broker.subscribe(b"t", b"u")
    for number in range(10):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    for _ in range(9):
        broker.take(b"t", b"u")
    broker.commit()
    assert pieces_stored(long_logs) == 8
    again = long_logs.restarted(broker)
    assert again.state.messages == 1
    for _ in range(10):
        long_logs.opened[-1].reclaim()
    assert pieces_stored(long_logs) == 1
    assert again.bodies(b"t", b"u") == [b"9"]


def test_a_commit_deletes_more_than_it_writes(long_logs: Stores) -> None:
    broker = long_logs.broker()
    broker.subscribe(b"t", b"u")
    for number in range(40):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    broker.bodies(b"t", b"u")
    broker.commit()
    assert pieces_stored(long_logs) == 38
    assert long_logs.opened[-1].reclaim(), "there is much more"
    assert pieces_stored(long_logs) == 36
    for number in range(5):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    assert pieces_stored(long_logs) == 36 + 5 - 4 * 5
    while long_logs.opened[-1].reclaim():
        pass
    assert pieces_stored(long_logs) <= 5 + 2


# --- what a store is given


def told() -> BrokerDriver:
    """A broker whose store wants to know everything."""
    return BrokerDriver(store=MirrorStore(STORE_ID))


def freed(broker: BrokerDriver) -> list[PiecesFreed]:
    """The last records of a burst."""
    return [each for each in broker.dispatcher.context.take_records() if isinstance(each, PiecesFreed)]


def test_one_commit_has_the_whole_burst_in_order_and_what_was_freed_last() -> None:
    broker = told()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x", b"h")
    broker.take(b"t", b"u")
    time = broker.clock.now().wall
    assert broker.dispatcher.context.take_records() == [
        TopicBegan(b"t", 1, 1),
        SubscriptionSet(b"t", b"u", 1),
        MessageStored(b"t", 1, time, Payload(b"h", b"x"), piece=1),
        SubscriptionSet(b"t", b"u", 2),
        PiecesFreed((1,)),
    ]
    assert broker.dispatcher.context.take_records() == []


def test_what_a_topic_leaves_behind_is_freed_too() -> None:
    broker = told()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    broker.dispatcher.context.take_records()
    broker.unsubscribe(b"t", b"u")
    assert broker.dispatcher.context.take_records() == [
        SubscriptionEnded(b"t", b"u"),
        TopicEnded(b"t"),
        PiecesFreed((1,)),
    ]


def test_what_changes_nothing_gives_the_store_nothing() -> None:
    broker = told()
    broker.subscribe(b"t", b"u")
    broker.dispatcher.context.take_records()
    broker.subscribe(b"t", b"u")
    broker.take(b"t", b"u")
    broker.publish(b"nobody", b"x")
    broker.unsubscribe(b"t", b"nobody")
    broker.ask(Op.STATS)
    assert broker.dispatcher.context.take_records() == []


def test_many_takes_of_a_burst_are_told_at_once() -> None:
    broker = told()
    broker.subscribe(b"t", b"u")
    for _ in range(10):
        broker.publish(b"t", b"x")
    broker.bodies(b"t", b"u")
    assert freed(broker) == [PiecesFreed(tuple(range(1, 11)))]


def test_pieces_of_many_topics_are_freed_in_the_order_in_which_the_heads_moved() -> None:
    broker = told()
    topics = [b"topic %d" % number for number in range(50)]
    for topic in topics:
        broker.subscribe(topic, b"u")
        broker.publish(topic, b"x")
    broker.dispatcher.context.take_records()
    for topic in reversed(topics):
        broker.take(topic, b"u")
    assert freed(broker) == [PiecesFreed(tuple(range(50, 0, -1)))]


def test_a_store_that_keeps_nothing_is_not_told_what_is_freed() -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    broker.take(b"t", b"u")
    assert freed(broker) == []


# --- a store that fails


def test_a_failed_commit_raises_before_any_reply_is_sent() -> None:
    broker = BrokerDriver(store=FailingStore(STORE_ID))
    sent = []

    def one_turn_of_the_loop(frames: list[bytes]) -> None:
        arrived = broker.handle(frames)
        broker.commit()
        sent.extend(arrived.replies)

    with pytest.raises(StoreError, match="no space left"):
        one_turn_of_the_loop(broker.frames([Asked(Op.SUBSCRIBE, b"t", b"u")]))
    assert sent == []
    one_turn_of_the_loop(broker.frames([Asked(Op.TAKE, b"t", b"nobody")]))
    assert len(sent) == 1, "what changes nothing needs no commit"


def test_a_handler_hands_its_replies_back_instead_of_sending_them() -> None:
    broker = BrokerDriver(store=FailingStore(STORE_ID))
    arrived = broker.handle(broker.frames([Asked(Op.SUBSCRIBE, b"t", b"u")] * 3))
    assert len(arrived.replies) == 3
    assert len(broker.dispatcher.context.records) == 2, "the commit comes between this and the sending"


def test_after_a_failed_commit_the_store_gives_back_what_was_there_before() -> None:
    store = FailingStore(STORE_ID)
    broker = BrokerDriver(store=store)
    broker.subscribe(b"t", b"u")
    with pytest.raises(StoreError):
        broker.commit()
    assert not loaded(store).topics
