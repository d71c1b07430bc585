"""What is freed in one go is gone at once, and taken apart later: what of that can be seen."""

from __future__ import annotations

from broker.state.piece import MESSAGE_COST
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import NOTHING, ROOMY, Asked, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state
from tests.support.tiny import TINY

STORED = 30


def full(**options: object) -> BrokerDriver:
    """A broker whose one reader has read nothing, in a topic that another one keeps alive."""
    broker = BrokerDriver(thresholds=TINY, **options)  # type: ignore[arg-type]
    for user in (b"u", b"late"):
        broker.subscribe(b"t", user)
    for number in range(STORED):
        broker.publish(b"t", b"%02d" % number)
    broker.bodies(b"t", b"late")
    return broker


def unsubscribe(broker: BrokerDriver) -> None:
    """Within a turn, so that nothing is taken apart yet."""
    broker.dispatcher.handle(broker.frames([Asked(Op.UNSUBSCRIBE, b"t", b"u", NOTHING)]), broker.clock.now())


def test_messages_are_gone_at_once_and_their_memory_over_some_turns() -> None:
    broker = full()
    before = broker.state.memory
    unsubscribe(broker)
    state = broker.state
    assert (state.messages, state.pieces, state.content_bytes, state.topics[b"t"].messages) == (0, 0, 0, 0)
    assert state.garbage.pieces > STORED // 2
    check_state(state)
    while state.garbage.any:
        left = state.memory
        assert broker.dispatcher.patience(broker.clock.now()) == 0, "the loop continues without waiting"
        broker.dispatcher.run_due(broker.clock.now())
        assert left - 3 * (MESSAGE_COST + 2) <= state.memory < left
    assert state.memory <= before - STORED * (MESSAGE_COST + 2)
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_a_publish_at_the_ceiling_of_memory_gets_the_memory_that_it_needs() -> None:
    broker = full(limits=ROOMY._replace(memory=full().state.memory))
    assert broker.publish(b"t", b"no").code == "memory-full"
    unsubscribe(broker)
    garbage = broker.state.garbage.pieces
    args = Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"x" * 5 * MESSAGE_COST))
    broker.dispatcher.handle(broker.frames([args]), broker.clock.now())
    assert broker.state.messages == 1
    assert 0 < garbage - broker.state.garbage.pieces < 9, "no more than that"
    assert broker.state.memory <= broker.limits.memory
    check_state(broker.state)


def test_a_publish_that_no_garbage_helps_takes_none_apart() -> None:
    broker = full()
    unsubscribe(broker)
    pieces = broker.state.garbage.pieces
    assert not ROOMY._replace(memory=broker.state.memory).make_room(broker.state, 10**6)
    assert broker.state.garbage.pieces == pieces


def test_a_store_is_told_of_every_piece_once() -> None:
    store = MirrorStore("0badcafe")
    broker = full(store=store)
    broker.commit()
    unsubscribe(broker)
    broker.commit()
    assert store._pieces, "in parts"
    while broker.state.garbage.any:
        broker.dispatcher.run_due(broker.clock.now())
        broker.commit()
    assert not store._pieces


def test_keys_of_a_topic_that_ended_are_gone_at_once_and_may_be_used_again() -> None:
    broker = BrokerDriver(thresholds=TINY)
    for life in range(2):
        broker.subscribe(b"t", b"u")
        for number in range(STORED):
            answer = broker.publish(b"t", b"x", key=b"%d" % number, digest=b"%d" % life)
            assert not answer.result.replayed
        assert len(broker.state.keys) == STORED
        unsubscribe(broker)
        assert len(broker.state.keys) == 0
        check_state(broker.state)
    broker.run_due()
    assert broker.state.memory == 0
