"""Who counts as active, and what a session may then have under way."""

from __future__ import annotations

import pytest

from httpfront.sessions.shares import RECENT_TICKS, Share, Shares

ALONE, BESIDE = Share(128, 8, 1000), Share(16, 2, 100)


@pytest.fixture
def shares() -> Shares:
    return Shares(ALONE, BESIDE)


def ticks(shares: Shares, calls: int = 0) -> list[Share]:
    """What a session may have after each of some ticks."""
    found = []
    for _ in range(RECENT_TICKS + 1):
        shares.tick(calls)
        found.append(shares.now)
    return found


def test_a_session_that_is_alone_has_much_however_often_it_begins(shares: Shares) -> None:
    for _ in range(3):
        shares.began("greedy")
        shares.ended()
    shares.began("greedy")
    assert {shares.now, *ticks(shares)} == {ALONE}


def test_a_session_beside_one_that_is_always_busy_makes_the_shares_small(shares: Shares) -> None:
    shares.began("greedy")
    for _ in range(3):
        shares.began("quiet")
        shares.ended()
        assert ticks(shares) == [BESIDE] * RECENT_TICKS + [ALONE], "until it has done nothing for a while"


def test_sessions_that_take_turns_make_the_shares_small(shares: Shares) -> None:
    for session in ("a", "b"):
        shares.began(session)
        shares.ended()
    assert shares.now == BESIDE


def test_calls_of_requests_make_the_shares_small(shares: Shares) -> None:
    shares.began("greedy")
    shares.tick(1)
    assert shares.now == BESIDE
    assert ticks(shares, 1)[-2:] == [BESIDE, ALONE]


def test_a_session_that_has_ended_does_not_count(shares: Shares) -> None:
    shares.began("a")
    shares.ended()
    shares.forget("b")
    shares.forget("a")
    shares.began("b")
    assert shares.now == ALONE
