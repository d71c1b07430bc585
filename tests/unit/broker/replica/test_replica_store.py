"""Two candidates of one broker on one log: equal states, whoever dies, and wherever."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.histories import new_folder
from tests.support.memory_log import SharedLog, Weather
from tests.support.replicas import NAMES, ReplicaDriver, ReplicaHistory, VirtualTime, new_log
from tests.support.snapshot import check_state, snapshot

ROUNDS = 6
"""Take-overs of one history."""
ROUGH = Weather(latency=0.02, lost_request=0.05, lost_answer=0.1, straggling=0.02, lag=0.05, repeated=0.1)


class Pair:
    """The owner and a standby."""

    def __init__(self, rng: Random, root: Path) -> None:
        self.rng = rng
        self.time = VirtualTime(rng)
        self.shared: SharedLog = new_log(self.time)
        self.shared.weather = rng.choice((Weather(), ROUGH))
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


@pytest.mark.parametrize("seed", range(8))
def test_whoever_takes_over_has_what_was_settled(seed: int) -> None:
    live_through(seed)
