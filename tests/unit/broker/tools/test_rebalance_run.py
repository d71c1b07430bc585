"""`bin/rebalance run`: the rate of moves, and when the rest is not tried. What it moves: tests/e2e/test_moves.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.tools import rebalance_run
from broker.tools.slot_mover import Moved, MoveFailedError
from common.cluster.slot_plan import PlannedMove

BYTES, MOVE_S = 1000, 0.5
"""Of each slot, and the time that its move takes."""


class Scene:
    """A clock that only moves and waits advance, and brokers that refuse some slots."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refused: set[int] = set()
        self.tried: list[int] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def is_paused(self, broker: str) -> bool:
        return False

    def move(self, planned: PlannedMove) -> Moved:
        self.tried.append(planned.slot)
        if planned.slot in self.refused:
            raise MoveFailedError("no room")
        self.now += MOVE_S
        return Moved(planned.slot, 1, BYTES, MOVE_S)

    def move_all(self, slots: int, rate: int = 0) -> tuple[list[int], list[int]]:
        """Return the slots that were moved, and those that were not."""
        frame: Any = SimpleNamespace(links=None, options=SimpleNamespace(rate=rate))
        done, failed = rebalance_run._move_all(frame, [PlannedMove(slot, "b0", "b1") for slot in range(slots)])
        return [each.slot for each in done], [move.slot for move, _ in failed]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(rebalance_run, "time", scene)
    monkeypatch.setattr(rebalance_run, "SlotMover", lambda links: scene)
    monkeypatch.setattr(rebalance_run, "try_to_write_description", lambda frame: 1)
    return scene


def test_without_a_rate_nothing_is_waited_for(scene: Scene) -> None:
    scene.move_all(4)
    assert scene.now == 4 * MOVE_S


def test_a_rate_is_kept_on_average(scene: Scene) -> None:
    scene.move_all(4, rate=250)
    assert 4 * BYTES / scene.now <= 250


def test_failures_in_a_row_end_it_and_others_do_not(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance_run, "MOST_FAILURES", 3)
    scene.refused = {1, 2, 4, 5, 7, 8, 9}
    assert scene.move_all(20) == ([0, 3, 6], [1, 2, 4, 5, 7, 8, 9])
    assert scene.tried == list(range(10))
