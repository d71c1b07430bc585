"""Two candidates of one broker on one log: equal states, whoever dies, and wherever."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from broker.errors import DamagedError, DeposedError, LeftOutError, ReplicaError, UnusableStoreError
from broker.records import Content, SubscriptionSet
from broker.replica.space import Report
from broker.store.base import Owner
from broker.store.sqlite.clone import clone_store
from broker.store.sqlite.files import FILE
from broker.store.sqlite.log_state import LogStateStore
from broker.store.sqlite.store import SqliteStore
from common.clock import Machine, SystemClock
from tests.support.driver import BrokerDriver
from tests.support.histories import new_folder
from tests.support.memory_log import SharedLog, Weather
from tests.support.replicas import LOG_ID, NAMES, ReplicaDriver, ReplicaHistory, VirtualTime, new_log
from tests.support.snapshot import check_state, snapshot

ROUNDS = 6
"""Take-overs of one history."""
ROUGH = Weather(latency=0.02, lost_request=0.05, lost_answer=0.1, straggling=0.02, lag=0.05, repeated=0.1)


class Pair:
    """The owner and a standby."""

    def __init__(self, rng: Random, root: Path, weather: Weather | None = None) -> None:
        self.rng = rng
        self.time = VirtualTime(rng)
        self.shared: SharedLog = new_log(self.time)
        self.shared.weather = weather or rng.choice((Weather(), ROUGH))
        self.histories = []
        for name in NAMES:
            folder = root / name
            folder.mkdir()
            self.histories.append(ReplicaHistory(rng, folder, self.shared, self.time, name))
        self.owner, self.standby = self.histories
        self.driver(self.owner).own()

    @staticmethod
    def driver(history: ReplicaHistory) -> ReplicaDriver:
        assert isinstance(history.broker, ReplicaDriver)
        return history.broker

    def live(self) -> dict[str, Any]:
        """Some bursts, some of which the standby follows; return the state that was settled last."""
        broker = self.driver(self.owner)
        for _ in range(self.rng.randrange(1, 8)):
            for _ in range(self.rng.randrange(0, 6)):
                self.owner.step()
            broker.commit()
            broker.store.turn()
            if self.rng.random() < 0.3:
                broker.store.reclaim()
            if self.rng.random() < 0.5:
                self.driver(self.standby).store.turn()
        return snapshot(broker.state)

    def kill(self, settled: dict[str, Any]) -> list[dict[str, Any]]:
        """Kill the owner at an arbitrary point of a burst; return the states that may be in the log now."""
        broker = self.driver(self.owner)
        possible = [settled]
        if self.rng.random() < 0.7:
            for _ in range(self.rng.randrange(1, 4)):
                self.owner.step()
            broker.begin()
            if len(broker.store._parts) == 1:
                possible.append(snapshot(broker.state))
                self.time.run(self.rng.choice((0.0, 0.001, 0.05, 2.0)))
                if self.rng.random() < 0.5:
                    broker.store.settled()
            else:
                broker.until(broker.store.settled)
                possible = [snapshot(broker.state)]
        self.owner.killed()
        return possible

    def close(self) -> None:
        for history in self.histories:
            history.broker.store.close()


def live_through(seed: int) -> None:
    """One history with take-overs; raises `AssertionError`."""
    rng, root = Random(seed), new_folder()
    try:
        pair = Pair(rng, root)
        for _ in range(ROUNDS):
            possible = pair.kill(pair.live())
            successor, clock = pair.driver(pair.standby), pair.owner.broker.clock
            successor.own()
            assert snapshot(successor.state) in possible
            check_state(successor.state)
            pair.owner, pair.standby = pair.standby, pair.owner
            pair.standby.broker = pair.standby.open(clock)
            follower = pair.driver(pair.standby)
            follower.follow()
            assert snapshot(follower.state) == snapshot(successor.state)
            check_state(follower.state)
        pair.close()
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("seed", range(4))
def test_whoever_takes_over_has_what_was_settled(seed: int) -> None:
    live_through(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 60))
def test_whoever_takes_over_has_what_was_settled_in_more_histories(seed: int) -> None:
    live_through(seed)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """An owner and a standby in calm weather, with some contents."""
    made = Pair(Random(1), tmp_path, Weather())
    broker = made.driver(made.owner)
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"one")
    broker.commit()
    yield made
    made.close()


def test_a_standby_whose_state_differs_stops_and_leaves_its_store_as_it_was(pair: Pair) -> None:
    standby, owner = pair.driver(pair.standby), pair.driver(pair.owner)
    standby.follow()
    standby.store.local.flush(standby.store.candidate.position)
    before = standby.store.local.stored
    standby.state.apply(SubscriptionSet(b"t", b"nobody", 1))
    pair.time.run(1.1)
    owner.publish(b"t", b"two")
    owner.commit()
    with pytest.raises(ReplicaError, match="subscriptions 2, not 1"):
        standby.follow()
    standby.store.close()
    pair.standby.broker = pair.standby.open()
    again = pair.driver(pair.standby)
    assert again.store.local.stored == before
    again.follow()
    assert snapshot(again.state) == snapshot(owner.state)


def test_an_owner_that_meets_damage_ends_and_passes_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(piece: int) -> Content:
        raise DamagedError("it is not what was written")

    store = pair.driver(pair.owner).store
    monkeypatch.setattr(store.local.file, "read", damaged)
    with pytest.raises(LeftOutError, match="not what was written"):
        store.read(1)


def test_a_copy_of_a_candidates_store_is_restored_as_an_ordinary_one(pair: Pair, tmp_path: Path) -> None:
    owner = pair.driver(pair.owner)
    path, copy = owner.store.backup("backup-1.db")
    while not copy.step():
        pass
    folder = tmp_path / "restored"
    folder.mkdir()
    clone_store(path, folder / FILE, "0123abcd")
    with pytest.raises(UnusableStoreError, match="of replicated log"):
        SqliteStore(path.parent, Owner("fanmail", "b0"), "", -(2**40))
    store = SqliteStore(folder, Owner("fanmail", "b0"), "", -(2**40))
    broker = BrokerDriver(store=store)
    assert broker.bodies(b"t", b"u") == [b"one"]
    store.close()
    with pytest.raises(UnusableStoreError, match="without a replicated log"):
        LogStateStore(folder, Owner("fanmail", "b0"), "", -(2**40), LOG_ID.hex())


def test_a_lease_keeps_the_rest_of_its_time_and_no_clock_goes_back(pair: Pair) -> None:
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    owner.lease(b"t", b"u", 30)
    owner.clock.advance(10)
    owner.publish(b"t", b"two")
    owner.commit()
    last = owner.clock.now()
    pair.owner.killed()
    standby.own()
    mark = standby.store.clock
    assert (mark.mono, mark.time) == (last.mono, last.time)
    clock = SystemClock(mark, Machine(lambda: 0, lambda: 0, lambda: (last.wall - 60_000) * 10**6, "another boot"))
    assert clock.now().mono == last.mono
    assert clock.now().time > last.time, "although its system clock is a minute behind"
    standby.elapse(19)
    assert standby.take(b"t", b"u").result.body == b"two"
    standby.elapse(2)
    assert standby.take(b"t", b"u").result.body == b"one"
    pair.owner.broker = pair.owner.open()


def test_a_candidate_whose_clock_is_wrong_leaves_the_take_over_to_others(pair: Pair) -> None:
    standby = pair.driver(pair.standby)
    standby.follow()
    wrong = standby.clock.now().wall + 60_000
    standby.store._who = standby.store._who._replace(wall_ms=lambda: wrong + int(pair.time.now * 1000))
    pair.owner.killed()
    began = pair.time.now
    standby.own()
    assert pair.time.now - began >= standby.store._limits.patient_s - 0.1, "as long as there may be others"
    pair.owner.broker = pair.owner.open()


def test_a_burst_that_is_too_large_becomes_several_entries(pair: Pair) -> None:
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    owner.store._limits = owner.store._limits._replace(entry_bytes=300)
    last = pair.shared.last
    for number in range(6):
        owner.publish(b"t", b"%d" % number * 100)
    owner.commit()
    assert pair.shared.last == last + 3
    standby.follow()
    assert snapshot(standby.state) == snapshot(owner.state)


def test_what_all_candidates_have_on_disk_is_forgotten(pair: Pair) -> None:
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    pair.shared.max_bytes = 10_000
    for number in range(60):
        owner.publish(b"t", b"%d" % number * 30)
        owner.take(b"t", b"u")
        owner.commit()
        pair.time.run(1.0)
        owner.store.turn()
        standby.store.turn()
    assert pair.shared.first > 20
    assert pair.shared.first <= min(owner.store.local.stored, standby.store.local.stored)
    standby.follow()
    assert snapshot(standby.state) == snapshot(owner.state)


def test_a_log_without_room_is_purged_and_goes_on(pair: Pair) -> None:
    """The standby is away: its part of the log is forgotten in the end, and it needs a seed."""
    owner = pair.driver(pair.owner)
    pair.standby.broker.store.close()
    pair.shared.max_bytes = 4_000
    for number in range(200):
        owner.publish(b"t", b"%d" % number * 30)
        owner.take(b"t", b"u")
        owner.commit()
        pair.time.run(0.3)
        owner.store.turn()
    assert owner.store.duties.one_copy
    pair.standby.broker = pair.standby.open()
    with pytest.raises(ReplicaError, match="seed it"):
        pair.driver(pair.standby).follow()


def fill_log(pair: Pair) -> dict[str, Any]:
    """Leave the log no room, while both candidates have on disk what is in it; return the state."""
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    owner.publish(b"t", b"kept")
    owner.commit()
    standby.follow()
    standby.store._who = standby.store._who._replace(wall_ms=lambda: owner.clock.now().wall)
    for _ in range(8):  # until each has reported that
        pair.time.run(1.0)
        owner.commit()  # a heartbeat
        owner.store.turn()
        standby.store.turn()
    pair.shared.max_bytes = pair.shared.bytes
    return snapshot(owner.state)


def test_a_log_without_room_is_purged_and_released(pair: Pair) -> None:
    state = fill_log(pair)
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    began = pair.time.now
    owner.store.release("", owner.clock.mark())
    owner.until(owner.store.settled)
    standby.own()
    assert pair.time.now < began + 2.0, "it does not wait for the silence"
    assert snapshot(standby.state) == state


def test_a_log_without_room_that_cannot_be_purged_is_left_within_two_seconds(pair: Pair) -> None:
    state = fill_log(pair)
    owner, standby = pair.driver(pair.owner), pair.driver(pair.standby)
    pair.shared.purge = lambda before: pair.shared.first  # type: ignore[method-assign]
    began = pair.time.now
    owner.store.release("", owner.clock.mark())
    with pytest.raises(DeposedError, match="no room for its release"):
        owner.until(owner.store.settled)
    assert pair.time.now < began + 2.0
    del pair.shared.purge  # type: ignore[method-assign]
    standby.own()
    assert snapshot(standby.state) == state


def test_a_candidate_that_knows_of_more_than_the_log_has_does_not_take_over(pair: Pair) -> None:
    standby = pair.driver(pair.standby)
    standby.follow()
    last = standby.store.candidate.position.position
    standby.store.duties.space.hear(msgspec.msgpack.encode(Report(NAMES[0], b"p", last + 1, 0, 0)), pair.time.now)
    pair.owner.killed()
    for _ in range(100):
        pair.time.run(0.2)
        assert not standby.store.turn()
    pair.owner.broker = pair.owner.open()
