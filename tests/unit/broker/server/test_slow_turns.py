"""What the loop of a broker says of itself: a message or a turn that took long, and replies that nobody takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from broker.dispatch import dispatcher
from broker.dispatch.request_log import SLOW_US
from broker.server.listener import Listener
from broker.server.loop import Server
from broker.server.process import Process
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import Asked, BrokerDriver

Turn = Callable[..., list[logging.LogRecord]]


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Turn]:
    """One turn of a broker without fronts in which a LOOK takes this many microseconds; returns what it logs."""
    broker, took = BrokerDriver(), [0]

    def look(*_: Any) -> ops.Status:
        broker.clock.advance(took[0] / 1e6)
        return ops.Status(0, "", 0, 0, 0)

    op, name, spec, _ = dispatcher._KNOWN[Op.LOOK]
    monkeypatch.setitem(dispatcher._KNOWN, int(Op.LOOK), (op, name, spec, look))
    with ExitStack() as stack:
        ends = os.pipe2(os.O_NONBLOCK)
        for end in ends:
            stack.callback(os.close, end)
        listener = Listener(2**20, None, {})
        stack.callback(listener.close)
        server = Server(listener, broker.dispatcher, broker.store, broker.clock, Process(ends[0], lambda: None))

        def run(micros: int, *messages: list[Asked]) -> list[logging.LogRecord]:
            took[0] = micros
            caplog.clear()
            server._work([[b"front", *broker.frames(each)] for each in messages])
            broker.clock.advance(1)
            server._housekeeping()
            return caplog.records

        yield run


LOOK = Asked(Op.LOOK, b"t", b"u", request_id="r1")
SKIP = Asked(Op.SKIP, b"t", b"u", request_id="r2")


def test_a_message_and_a_turn_that_took_long_are_told_of(turn: Turn) -> None:
    message, whole, _ = turn(SLOW_US + 1000, [SKIP], [SKIP, LOOK], [SKIP])
    assert (message.getMessage(), message.levelno) == ("slow operations", logging.WARNING)
    assert vars(message)["operations"] == {"skip": 1, "look": 1}
    assert vars(message)["request_ids"] == ["r2", "r1"]
    assert vars(message)["duration_ms"] == 251
    assert whole.getMessage() == "slow turn"
    assert (vars(whole)["messages"], vars(whole)["duration_ms"], vars(whole)["commit_ms"]) == (3, 251, 0)


def test_many_messages_that_are_slow_together_are_one_slow_turn(turn: Turn) -> None:
    assert [each.getMessage() for each in turn(SLOW_US // 2, [LOOK], [LOOK], [LOOK])][:-1] == ["slow turn"]


def test_nothing_is_said_of_what_is_quick_enough(turn: Turn) -> None:
    assert [each.getMessage() for each in turn(SLOW_US // 2, [LOOK], [LOOK])][:-1] == []


def test_replies_that_nobody_takes_are_told_of_with_their_requests(turn: Turn) -> None:
    (dropped,) = turn(0, [LOOK, SKIP], [SKIP])
    assert dropped.getMessage().startswith("replies dropped")
    assert (vars(dropped)["total"], vars(dropped)["request_ids"]) == (1, ["r1", "r2", "r2"])


def test_nothing_is_said_of_a_peer_that_has_said_goodbye(turn: Turn) -> None:
    assert turn(0, [Asked(Op.GOODBYE)]) == []
