"""Rounds in which slots move between brokers on replicated logs, and the owners of these logs go meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.e2e.load import Load
from tests.e2e.replicated import ReplicatedCluster
from tests.soak.replicated import ReplicatedSoak, settings_of_fronts
from tests.soak.slot_moves import SOON_S, SlotMoves
from tests.support.nats_cluster import NatsCluster


class ReplicatedMovingSoak(ReplicatedSoak):
    """Two brokers with two candidates each. Each fault moves the slot of a topic that is in use."""

    def __init__(self, seed: int, round_seconds: float, pace_s: float = 0.0) -> None:
        """Start NATS servers, brokers and fronts."""
        nats = NatsCluster()
        super().__init__(
            nats, ReplicatedCluster(nats, 2, fronts=2, front_settings=settings_of_fronts()), seed, round_seconds, pace_s
        )
        self._moves = SlotMoves(self.cluster.map, self.figures)
        self._topics: list[str] = []
        self.faults = {
            "move": lambda: self._move(lambda source, to: None),
            "move, source kill -9": lambda: self._move(lambda source, to: self._kill(source)),
            "move, target kill -9": lambda: self._move(lambda source, to: self._kill(to)),
            "move, both kill -9": lambda: self._move(lambda source, to: self._kill(source, to)),
            "move, source SIGTERM": lambda: self._move(lambda source, to: self._stop(source)),
            "move, target SIGTERM": lambda: self._move(lambda source, to: self._stop(to)),
        }

    def close(self) -> None:
        """Leave nothing behind."""
        self._moves.close()
        super().close()

    def make_load(self, topics: list[str]) -> Load:
        """Return the clients of a round, whose topics are moved."""
        self._topics = topics
        return super().make_load(topics)

    def after_round(self) -> list[str]:
        """Every slot has exactly one owner."""
        return self._moves.wrong()

    def _move(self, fault: Callable[[str, str], None]) -> None:
        planned = self._moves.choose(self.rng, self._topics)
        self._moves.begin(planned)
        time.sleep(self.rng.uniform(0, SOON_S))
        fault(planned.source, planned.to)
        self._moves.finish(planned)
        self.mend()

    def _kill(self, *brokers: str) -> None:
        owners = [self.cluster.candidates[self.cluster.owner(broker)] for broker in brokers]
        for owner in owners:
            owner.kill()
            self.figures.counts["kill -9"] += 1

    def _stop(self, broker: str) -> None:
        self.cluster.candidates[self.cluster.owner(broker)].terminate()
