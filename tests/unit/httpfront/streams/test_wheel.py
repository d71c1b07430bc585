"""The timing wheel: nothing comes early, nothing is forgotten, and what is not due is not looked at."""

from __future__ import annotations

import random
from math import inf

from httpfront.streams.wheel import Wheel
from tests.support.table import table


class Entry:
    def __init__(self) -> None:
        self.due, self.slot = inf, -1


@table("slots", [3, 128])
def test_what_is_due_comes_once_in_time_and_never_early(slots: int) -> None:
    rng = random.Random(slots)
    wheel: Wheel[Entry] = Wheel(1000.0, 0.25, slots)
    entries = [Entry() for _ in range(50)]
    now = 1000.0
    late = 0.0
    for _ in range(3000):
        now += rng.choice([0.0, 0.01, 0.1, 0.3, 2.0])
        entry = rng.choice(entries)
        if rng.random() < 0.1:
            wheel.drop(entry)
            entry.due = inf
        else:
            wheel.set(entry, now + rng.choice([-1.0, 0.0, 0.2, 1.0, 30.0, 100.0, inf]))
        now += 0.3
        for due in wheel.pop_due(now):
            assert due.due <= now, "early"
            late = max(late, now - due.due)
            wheel.set(due, inf)
        assert not [each for each in entries if each.due <= now - 2 * 0.25], "forgotten"
    assert late <= 4


def test_a_deadline_that_moves_away_costs_nothing_until_its_old_time() -> None:
    wheel: Wheel[Entry] = Wheel(0.0, 0.25, 128)
    entry = Entry()
    wheel.set(entry, 10.0)
    slot = entry.slot
    for later in range(11, 20):
        wheel.set(entry, float(later))
        assert entry.slot == slot
    assert list(wheel.pop_due(10.5)) == []
    assert list(wheel.pop_due(19.5)) == [entry]
    assert list(wheel.pop_due(100.0)) == []


def test_a_deadline_that_comes_nearer_is_kept() -> None:
    wheel: Wheel[Entry] = Wheel(0.0, 0.25, 128)
    entry = Entry()
    wheel.set(entry, 20.0)
    wheel.set(entry, 1.0)
    assert list(wheel.pop_due(1.5)) == [entry]
    assert list(wheel.pop_due(30.0)) == []
