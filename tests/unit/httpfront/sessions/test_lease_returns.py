"""Leases that sessions have left: how many are given back at a time, and how many wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from common.protocol.ops import Receipt
from httpfront.sessions import lease_returns
from httpfront.sessions.lease_returns import LeaseReturns


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the messages that were given back."""
    monkeypatch.setattr(lease_returns, "AT_ONCE", 3)
    monkeypatch.setattr(lease_returns, "MOST", 5)
    return []


@pytest.fixture
def returns(asked: list[int]) -> LeaseReturns:
    def start(op: object, topic: bytes, user: bytes, args: Any, *_: object) -> None:
        asked.append(args.receipt.seq)

    gateway: Any = SimpleNamespace(start=start)
    return LeaseReturns(gateway)


def give_back(returns: LeaseReturns, *numbers: int) -> None:
    for number in numbers:
        returns.give_back((b"t", b"u"), Receipt("1", number, 1), "id")


def test_between_two_ticks_only_so_many_are_given_back(returns: LeaseReturns, asked: list[int]) -> None:
    give_back(returns, 1, 2)
    give_back(returns, 3, 4, 5, 6, 7)
    assert asked == [1, 2, 3]
    returns.tick()
    assert asked == [1, 2, 3, 4, 5, 6]
    give_back(returns, 8)
    assert asked == [1, 2, 3, 4, 5, 6]
    returns.tick()
    assert asked == [1, 2, 3, 4, 5, 6, 7, 8]


def test_only_so_many_wait(returns: LeaseReturns, asked: list[int]) -> None:
    give_back(returns, *range(20))
    for _ in range(5):
        returns.tick()
    assert asked == list(range(8)), "three at once, and five that waited"
