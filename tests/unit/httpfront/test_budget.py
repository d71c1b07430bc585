"""What connections hold of a front's budget, and who gives way, with numbers that can be counted on fingers."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import FanmailError
from httpfront.budget import STALL_S, Account, Budget
from tests.support.table import table

LIMIT = 16


class Held:
    """Some connections of one front."""

    def __init__(self, small: int = 3) -> None:
        self.now = 100.0
        self.budget = Budget(LIMIT, small, lambda: self.now)
        self.gone: list[str] = []

    def connection(self, name: str, holds: int = 0, key: str = "") -> Account:
        """One that waits for its client where it holds anything."""
        account = Account(self.budget, lambda: self.gone.append(name))
        account.belongs_to(key)
        if holds:
            account.hold(holds)
            account.progress()
        return account


def busy(call: Any, *arguments: int) -> bool:
    with pytest.raises(FanmailError) as error:
        call(*arguments)
    return (error.value.code, error.value.spec.status, error.value.spec.retry_after) == ("front-busy", 503, 1)


def test_the_connection_without_progress_for_longest_gives_way() -> None:
    held = Held()
    first, second = held.connection("first", 6), held.connection("second", 6)
    first.progress()
    new = held.connection("new")
    new.grow(5)
    assert held.gone == ["second"]
    assert (second.bytes, held.budget.used, held.budget.evicted) == (0, 11, 1)
    new.grow(11)
    assert held.gone == ["second", "first"]


def test_who_alone_is_over_the_ceiling_is_refused_and_so_is_who_finds_nobody_to_give_way() -> None:
    held = Held()
    alone = held.connection("alone", 3)
    assert busy(alone.grow, LIMIT + 1)
    assert alone.bytes == 3
    stop_waiting = held.connection("at work", 12)
    stop_waiting.stop_waiting()
    assert busy(held.connection("new").grow, 5)
    assert held.gone == ["alone"], "it was asked to, and it was not enough"


def test_over_half_only_small_answers_begin() -> None:
    held = Held(small=3)
    assert held.connection("a").reserve(6) == 6
    assert held.connection("b").reserve(6) == 3, "to the half, or what is small"
    assert held.connection("c").reserve(6) == 3
    assert held.connection("d").reserve(2) == 2
    assert busy(held.connection("e").reserve, 6)
    assert held.budget.used == 14


def test_an_answer_of_a_known_size_gets_room_from_those_who_have_stalled_only() -> None:
    held = Held(small=3)
    held.connection("slow", 8)
    asking = held.connection("asking")
    assert busy(asking.reserve_exactly, 5)
    assert not held.gone
    held.now += STALL_S
    assert asking.reserve_exactly(5) == 5
    assert held.gone == ["slow"]
    assert held.connection("other").reserve_exactly(3) == 3, "what is small is not bound by the half"
    assert busy(held.connection("third").reserve_exactly, 4)


def test_the_only_one_may_have_an_answer_of_more_than_half() -> None:
    held = Held()
    assert held.connection("alone").reserve_exactly(LIMIT - 1) == LIMIT - 1
    assert busy(held.connection("late").reserve_exactly, 4)


def test_a_key_holds_at_most_a_quarter_or_one_request() -> None:
    held = Held()
    one, two = held.connection("one", key="k"), held.connection("two", key="k")
    one.grow(3)
    assert busy(two.grow, 2)
    two.grow(1)
    assert busy(held.connection("three", key="k").reserve, 1)
    assert held.connection("other", key="l").reserve(4) == 4
    one.clear()
    two.clear()
    one.grow(8)
    assert held.budget.by_key == {"k": 8, "l": 4}


def test_what_is_held_goes_with_the_key_of_the_request() -> None:
    held = Held()
    account = held.connection("a", 3)
    account.belongs_to("k")
    assert held.budget.by_key == {"k": 3}
    account.belongs_to("")
    assert not held.budget.by_key
    assert held.budget.used == 3


def test_an_answer_that_became_larger_than_its_room_takes_it_from_others() -> None:
    held = Held()
    held.connection("slow", 8)
    answer = held.connection("answer")
    assert answer.reserve(4) == 3
    answer.settle(9)
    assert held.gone == ["slow"]
    assert held.budget.used == answer.bytes == 9
    answer.clear()
    assert held.budget.used == 0
    assert not held.budget.waiting


def test_what_came_behind_a_request_is_kept_below_half_only() -> None:
    held = Held()
    account = held.connection("a", 5)
    assert account.hold_pipelined(3)
    assert not held.connection("b").hold_pipelined(1)
    account.clear()
    assert held.budget.used == 0


@table(("used", "usual", "room"), [(0, 100_000, 100_000), (0, 9, 9), (2_000_000, 100_000, 16_384)])
def test_for_one_message_much_is_reserved_only_while_little_is_used(used: int, usual: int, room: int) -> None:
    budget = Budget(16_000_000)
    budget.used = used
    assert Account(budget, lambda: None).reserve_one(usual) == room
