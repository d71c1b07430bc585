"""Clocks of a machine that is set, suspended and booted anew: how much time passes, and which date it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clock import BEHIND_MS, HOLD_MS, NEW, TOLERANCE_MS, Dates, Machine, ManualClock, Mark, SystemClock
from tests.support.table import table

DATE = 1_700_000_000_000
HOUR = 3600
SECOND = 1000
STEPS = [-30 * 365 * 24 * HOUR, -HOUR, -1, 1, HOUR, 30 * 365 * 24 * HOUR]


@dataclass
class FakeMachine:
    """In milliseconds."""

    monotonic: int = 50_000
    boottime: int = 70_000
    wall: int = DATE
    boot: str = "first"

    def start(self, mark: Mark | None = None) -> SystemClock:
        """A process begins."""
        sources = (lambda: self.monotonic * 10**6, lambda: self.boottime * 10**6, lambda: self.wall * 10**6)
        return SystemClock(mark, Machine(*sources, self.boot))

    def run(self, seconds: float) -> None:
        self.monotonic += int(seconds * SECOND)
        self.suspend(seconds)

    def suspend(self, seconds: float) -> None:
        self.boottime += int(seconds * SECOND)
        self.wall += int(seconds * SECOND)

    def reboot(self, seconds: float, boot: str = "second") -> None:
        self.wall += int(seconds * SECOND)
        self.monotonic = self.boottime = 5_000
        self.boot = boot


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


# --- time that passes


@pytest.mark.parametrize("step", STEPS)
def test_nobody_can_set_it(machine: FakeMachine, step: int) -> None:
    clock = machine.start(NEW)
    assert clock.now() == (1, DATE, DATE)
    machine.wall += step * SECOND
    machine.run(2)
    assert clock.now() == (2_000_001, DATE + 2 * SECOND, DATE + (step + 2) * SECOND)


def test_it_passes_while_the_machine_is_suspended(machine: FakeMachine) -> None:
    clock = machine.start(NEW)
    machine.suspend(HOUR)
    assert clock.now() == (1, DATE + HOUR * SECOND, DATE + HOUR * SECOND)


@pytest.mark.parametrize("step", STEPS)
def test_it_passes_while_the_broker_is_down_however_the_clock_is_set(machine: FakeMachine, step: int) -> None:
    clock = machine.start(NEW)
    machine.wall += step * SECOND
    machine.run(10)
    mark = clock.mark()
    machine.wall -= step * SECOND
    machine.run(HOUR)
    again = machine.start(mark).now()
    assert again == (10_000_001, DATE + (10 + HOUR) * SECOND, DATE + (10 + HOUR) * SECOND)


@pytest.mark.parametrize("boot", ["second", ""])
@pytest.mark.parametrize(("seconds", "passed"), [(60, 60 * SECOND), (0, BEHIND_MS), (-HOUR, BEHIND_MS)])
def test_after_a_boot_the_date_says_how_much_has_passed(
    machine: FakeMachine, boot: str, seconds: int, passed: int
) -> None:
    """And never less than what may have been stored after the mark."""
    mark = machine.start(NEW).mark()
    machine.wall += HOUR * SECOND  # which was believed, and made a step of the calendar
    machine.reboot(seconds, boot)
    assert machine.start(mark._replace(shift=HOUR * SECOND)).now().time == DATE + passed


def test_an_unknown_boot_is_never_the_same(machine: FakeMachine) -> None:
    machine.boot = ""
    mark = machine.start(NEW).mark()
    machine.reboot(60, boot="")
    machine.boottime = 10**9
    assert machine.start(mark).now().time == DATE + 60 * SECOND


def test_the_clocks_of_this_machine_go_on() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert first[:2] <= second[:2]
    mark = clock.mark()
    assert mark.boot
    again = SystemClock(mark).now()
    assert 0 <= again.time - mark.time < HOUR * SECOND
    assert again.mono >= mark.mono


# --- the date


def date_after(clock: ManualClock, dates: Dates, seconds: float) -> int:
    """How far the date is ahead of the time that has passed, in seconds; it is looked at as often as it has to be."""
    for _ in range(round(seconds * 2)):
        clock.advance(0.5)
        dates.now()
    return round((dates.now() - clock.now().time) / SECOND)


@table("step", STEPS)
def test_a_step_counts_once_it_has_held(step: int) -> None:
    clock = ManualClock()
    dates = Dates(clock)
    clock.set_wall(step)
    assert date_after(clock, dates, HOLD_MS / SECOND - 0.5) == 0
    assert date_after(clock, dates, 1) == step


@table("step", STEPS)
def test_what_does_not_hold_never_counts(step: int) -> None:
    clock = ManualClock()
    dates = Dates(clock)
    for _ in range(5):
        clock.set_wall(step)
        assert date_after(clock, dates, 3) == 0
        clock.set_wall(-step)
        assert date_after(clock, dates, 3) == 0


@table("step", STEPS)
def test_a_step_that_was_believed_and_is_undone_is_forgotten_at_once(step: int) -> None:
    clock = ManualClock()
    dates = Dates(clock)
    clock.set_wall(step)
    assert date_after(clock, dates, HOLD_MS / SECOND + 1) == step
    clock.set_wall(-step)
    assert date_after(clock, dates, 0) == 0


def test_a_clock_that_is_set_again_and_again_is_believed_when_it_stands() -> None:
    clock = ManualClock()
    dates = Dates(clock)
    for _ in range(5):
        clock.set_wall(HOUR)
        assert date_after(clock, dates, 3) == 0
    assert date_after(clock, dates, 3) == 5 * HOUR


@table("per_second", [0.001, -0.001, 0.01, -0.01])
def test_a_clock_that_is_slewed_is_followed(per_second: float) -> None:
    clock = ManualClock()
    dates = Dates(clock)
    for _ in range(600):
        clock.advance(1)
        clock.set_wall(per_second)
        dates.now()
        most = TOLERANCE_MS + 2 * HOLD_MS * abs(per_second)
        assert abs(dates.now() - clock.now().wall) <= most


STEP = st.sampled_from(STEPS) | st.floats(-10 * HOUR, 10 * HOUR)
HISTORY = st.lists(st.tuples(STEP, st.sampled_from([0.0, 0.1, 1.0, 3.0, 4.5, 6.0, 20.0])), max_size=12)


@given(HISTORY)
def test_whatever_became_of_the_clock_the_date_is_right_soon_after(history: list[tuple[float, float]]) -> None:
    clock = ManualClock()
    dates = Dates(clock)
    began = clock.now().time
    passed = 0.0
    for step, seconds in history:
        clock.set_wall(step)
        date_after(clock, dates, seconds)
        passed += round(seconds * 2) * 0.5
        if seconds * SECOND > HOLD_MS:
            assert abs(dates.now() - clock.now().wall) <= TOLERANCE_MS
    date_after(clock, dates, HOLD_MS / SECOND + 0.5)
    assert abs(dates.now() - clock.now().wall) <= TOLERANCE_MS
    assert clock.now().time - began == round((passed + HOLD_MS / SECOND + 0.5) * SECOND)
