"""A message larger than the room of the request is not delivered, and nothing has happened."""

from __future__ import annotations

from typing import Any

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver, batch
from tests.support.snapshot import snapshot

LONG = 2**60


@pytest.fixture
def broker() -> BrokerDriver:
    driver = BrokerDriver()
    driver.subscribe(b"t", b"u")
    return driver


def asks(room: int, epoch: str, seq: int) -> list[tuple[Op, Any]]:
    """Every way to ask for messages."""
    return [
        (Op.TAKE, ops.Take(room=room)),
        (Op.TAKE, ops.Take(True, epoch, seq, room=room)),
        (Op.TAKE, ops.Take(lease=30, room=room)),
        (Op.FETCH, ops.Fetch(False, "", 0, 9, LONG, False, room=room)),
        (Op.FETCH, ops.Fetch(False, "", 0, 9, LONG, True, room=room)),
        (Op.FETCH, ops.Fetch(True, epoch, seq, 9, LONG, False, room=room)),
        (Op.FETCH, ops.Fetch(False, "", 0, 9, LONG, False, 30, room=room)),
    ]


@pytest.mark.parametrize("how", range(7))
@pytest.mark.parametrize("in_batch", [False, True])
def test_a_message_over_the_room_is_refused_with_its_size(broker: BrokerDriver, how: int, in_batch: bool) -> None:
    first = broker.publish(b"t", b"1").result
    if in_batch:
        broker.ask(Op.PUBLISH, b"t", b"", batch(b"x" * 10, b"y" * 3))
    else:
        broker.publish(b"t", b"x" * 10)
    if how not in (1, 5):
        broker.take(b"t", b"u")
    before = snapshot(broker.state)
    op, args = asks(9, first.epoch, first.seq)[how]
    refused = broker.ask(op, b"t", b"u", args)
    assert (refused.code, dict(refused.fields)) == ("answer-too-large", {"size": 10})
    assert snapshot(broker.state) == before
    op, args = asks(10, first.epoch, first.seq)[how]
    found = broker.ask(op, b"t", b"u", args)
    assert found.code == ""
    assert b"x" * 10 in (found.result.body if op is Op.TAKE else found.result.runs[0].body)


def test_a_message_that_was_given_back_is_measured_too(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"x" * 10)
    broker.publish(b"t", b"y")
    leased = broker.lease(b"t", b"u").result
    broker.extend(b"t", b"u", ops.Receipt(leased.epoch, leased.seq, leased.attempt))
    for args in (ops.Take(room=9), ops.Take(lease=30, room=9)):
        assert broker.ask(Op.TAKE, b"t", b"u", args).code == "answer-too-large"
    assert broker.ask(Op.TAKE, b"t", b"u", ops.Take(room=10)).result.body == b"x" * 10


def test_a_dead_letter_that_waits_again_is_measured_too(broker: BrokerDriver) -> None:
    broker.configure(b"t", b"u", max_deliveries=1)
    broker.publish(b"t", b"x" * 10)
    leased = broker.lease(b"t", b"u").result
    broker.extend(b"t", b"u", ops.Receipt(leased.epoch, leased.seq, leased.attempt))
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert broker.ask(Op.TAKE, b"t", b"u", ops.Take(room=9)).code == "answer-too-large"
    assert broker.ask(Op.TAKE, b"t", b"u", ops.Take(room=10)).result.body == b"x" * 10


def test_kept_headers_count_for_each_message_of_a_fetch(broker: BrokerDriver) -> None:
    for _ in range(6):
        broker.ask(Op.PUBLISH, b"t", b"", ops.Publish(b"h" * 10, b""))
    args = batch(*[b""] * 6)
    args.headers = b"h" * 10
    broker.ask(Op.PUBLISH, b"t", b"", args)
    counts = []
    while (found := broker.ask(Op.FETCH, b"t", b"u", ops.Fetch(False, "", 0, 99, 30, False)).result) is not None:
        counts.append(sum(run.count for run in found.runs))
    assert counts == [3, 3, 3, 3]
