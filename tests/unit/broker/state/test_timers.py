"""A heap of deadlines, one for each key."""

from __future__ import annotations

import random

import pytest

from broker.state.timers import Timers
from broker.thresholds import DEFAULT


@pytest.fixture
def timers() -> Timers[str]:
    timers: Timers[str] = Timers()
    for key, due in (("c", 30), ("a", 10), ("b", 20)):
        timers.set(key, due)
    return timers


def popped(timers: Timers[str], now: int, most: int | None = None) -> str:
    return "".join(timers.pop_due(now, most))


def test_they_are_due_in_order_and_each_once(timers: Timers[str]) -> None:
    assert (timers.next_due(), timers.get("b"), len(timers)) == (10, 20, 3)
    assert popped(timers, 9) == ""
    assert popped(timers, 20) == "ab"
    assert popped(timers, 20) == ""
    assert (timers.next_due(), timers.get("b"), len(timers)) == (30, None, 1)


def test_at_one_moment_they_are_due_as_they_were_set() -> None:
    timers: Timers[str] = Timers()
    for key in "zxy":
        timers.set(key, 5)
    assert popped(timers, 5) == "zxy"


@pytest.mark.parametrize(("due", "order"), [(5, "bac"), (25, "abc"), (35, "acb"), (20, "abc")])
def test_set_anew_only_the_new_moment_counts(timers: Timers[str], due: int, order: str) -> None:
    timers.set("b", due)
    assert (timers.get("b"), len(timers)) == (due, 3)
    assert popped(timers, 100) == order


def test_set_earlier_never_makes_it_later(timers: Timers[str]) -> None:
    timers.set_earlier("b", 25)
    assert timers.get("b") == 20
    timers.set_earlier("b", 15)
    assert timers.get("b") == 15
    timers.set_earlier("d", 40)
    assert popped(timers, 100) == "abcd"


def test_what_is_dropped_is_not_due(timers: Timers[str]) -> None:
    timers.drop("a")
    timers.drop("nobody")
    assert (timers.next_due(), timers.get("a")) == (20, None)
    assert popped(timers, 100) == "bc"
    assert timers.next_due() is None


def test_dropped_and_set_to_the_same_moment_it_is_due_once(timers: Timers[str]) -> None:
    for _ in range(3):
        timers.drop("a")
        timers.set("a", 10)
    assert popped(timers, 100) == "abc"
    timers.set("a", 10)
    assert popped(timers, 100) == "a"


def test_only_a_limited_number_is_taken_out_at_a_time(timers: Timers[str]) -> None:
    assert popped(timers, 100, most=0) == ""
    assert popped(timers, 100, most=2) == "ab"
    assert popped(timers, 100, most=2) == "c"


def test_what_is_set_while_they_are_taken_out_is_due_too_and_what_is_dropped_is_not(timers: Timers[str]) -> None:
    seen = ""
    for key in timers.pop_due(25):
        seen += key
        if key == "a":
            timers.drop("b")
            timers.set("d", 21)
            timers.set("a", 26)
    assert seen == "ad"
    assert timers.next_due() == 26


def test_a_key_that_is_set_again_and_again_leaves_few_stale_entries() -> None:
    timers: Timers[int] = Timers()
    for key in range(100):
        timers.set(key, 10**9)
    most = 0
    for due in range(100_000):
        timers.set(due % 100, 10**9 + due)
        most = max(most, len(timers._heap))
    assert most <= 2 * 100 + DEFAULT.slack + 1
    assert len(timers) == 100


def test_keys_that_come_and_go_leave_few_stale_entries() -> None:
    timers: Timers[int] = Timers()
    timers.set(-1, 1)
    most = 0
    for key in range(100_000):
        timers.set(key, 10**9 - key)
        most = max(most, len(timers._heap))
        timers.drop(key)
    assert most <= 2 * 2 + DEFAULT.slack + 1
    assert list(timers.pop_due(10**9)) == [-1]


def test_clean_ups_are_seldom() -> None:
    timers: Timers[int] = Timers()
    for key in range(1000):
        timers.set(key, 10**9)
    cleaned, heap = 0, timers._heap
    for due in range(20_000):
        timers.set(due % 1000, due)
        cleaned += timers._heap is not heap
        heap = timers._heap
    assert 0 < cleaned <= 20


def test_random_steps_agree_with_a_plain_dictionary() -> None:
    rng = random.Random(5)
    timers: Timers[int] = Timers()
    plain: dict[int, int] = {}
    now = 0
    for _ in range(50_000):
        key, due = rng.randrange(60), now + rng.randrange(100)
        match rng.randrange(6):
            case 0 | 1:
                timers.set(key, due)
                plain[key] = due
            case 2:
                timers.set_earlier(key, due)
                plain[key] = min(due, plain.get(key, due))
            case 3:
                timers.drop(key)
                plain.pop(key, None)
            case 4:
                assert timers.next_due() == min(plain.values(), default=None)
                assert timers.get(key) == plain.get(key)
            case _:
                now += rng.randrange(10)
                taken = list(timers.pop_due(now, rng.choice([None, 1, 5])))
                assert [plain[each] for each in taken] == sorted(plain[each] for each in taken)
                for each in taken:
                    assert plain.pop(each) <= now
        assert len(timers) == len(plain)
