"""Leases and delays of one user by the moment at which they end."""

from __future__ import annotations

from broker.state.lease_deadlines import LeaseDeadlines
from tests.support.table import table
from tests.support.tiny import TINY


def test_what_is_due_comes_in_order_and_as_much_as_is_asked_for() -> None:
    deadlines = LeaseDeadlines(TINY)
    deadlines.add(range(10, 14), 200)
    deadlines.add((3,), 100)
    deadlines.add((2,), 200)
    assert deadlines.next_due() == 100
    assert deadlines.pop_due(99, 10) == []
    assert deadlines.pop_due(200, 3) == [3, 10, 11]
    assert deadlines.next_due() == 200
    assert deadlines.pop_due(200, 10) == [12, 13, 2]
    assert deadlines.next_due() is None
    assert deadlines.pop_due(10**9, 10) == []


def test_a_moment_lasts_until_its_last_message_is_dropped() -> None:
    deadlines = LeaseDeadlines(TINY)
    deadlines.add(range(1, 4), 100)
    for seq in (2, 2, 3, 9):
        deadlines.drop(seq, 100)
        deadlines.drop(seq, 101)
    assert deadlines.next_due() == 100
    deadlines.drop(1, 100)
    assert deadlines.next_due() is None
    deadlines.add((5,), 100)
    deadlines.add((6,), 100)
    assert deadlines.pop_due(100, 10) == [5, 6]


@table("again", [1, 7])
def test_moments_that_are_over_leave_no_trace(again: int) -> None:
    """Also where the same moment comes and goes."""
    deadlines = LeaseDeadlines(TINY)
    deadlines.add((1, 2), 10**9)
    for seq in range(3, 10_000):
        for _ in range(again):
            deadlines.add((seq,), seq)
            deadlines.drop(seq, seq)
    assert len(deadlines._messages) == len(deadlines._heap) + len(deadlines._old) < 20
    assert deadlines.next_due() == 10**9
    assert deadlines.pop_due(10**9, 1) == [1]
    assert deadlines.pop_due(10**9, 9) == [2]
    assert deadlines._live == 0
