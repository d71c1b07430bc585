"""No turn of the loop grows with what is stored.

Of every operation, and of due work, the instructions of the longest turn are counted with few and with many entries.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import sortedcontainers  # type: ignore[import-untyped]

from broker.thresholds import DEFAULT
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, SECOND, Asked, BrokerDriver, apart
from tests.support.tiny import TINY

FEW, MANY = 200, 800
STEP = 2
"""Instructions for each further entry that are no walk over all of them: a block of 128 pieces takes a few."""
COUNTED = (str(Path(__file__).parents[4] / "broker"), str(Path(sortedcontainers.__file__).parent))
HOUR = 3600 * 1_000_000

Scene = Callable[[BrokerDriver, int], Asked | list[Asked] | None]
"""Makes the given number of entries; the requests that follow, each a turn of its own. None: time passes instead."""


class Row(NamedTuple):
    """One way to meet many entries."""

    op: Op | None
    """None: due work."""
    name: str
    scene: Scene


def instructions(function: Callable[..., Any], *args: Any) -> int:
    """How many of the broker's own, and of its index of names, are executed."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        if event == "call":
            if not frame.f_code.co_filename.startswith(COUNTED):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count


def longest_turn(scene: Scene, number: int) -> int:
    broker = BrokerDriver(
        thresholds=TINY._replace(scan=10, log_block=128),
        limits=ROOMY._replace(leases=10**6, lease_window=10**6, dead=10**6, keys=10**6),
    )
    broker.subscribe(b"t", b"u")
    asked = scene(broker, number)
    broker.dispatcher.context.take_records()
    if asked is None:
        broker.clock.advance(3600)
    waiting = asked if isinstance(asked, list) else [asked] if asked else []
    turns = [broker.frames([each]) for each in waiting]
    longest = 0
    for _ in range(20 * number):
        longest = max(longest, instructions(turn, broker, turns.pop(0) if turns else None))
        wait = broker.dispatcher.patience(broker.clock.now())
        if not turns and (wait is None or wait > 0):
            return longest
    raise AssertionError("the work does not end")


def turn(broker: BrokerDriver, frames: list[bytes] | None) -> None:
    """As the loop does it, up to what the store is given."""
    now = broker.clock.now()
    broker.dispatcher.run_due(now)
    if frames:
        broker.dispatcher.handle(frames, now, b"front")
    broker.dispatcher.turn(now)
    broker.dispatcher.context.take_records()


def send(broker: BrokerDriver, many: Iterable[Asked]) -> None:
    for each in many:
        assert broker.ask(*each[:4]).code == ""


def publish(number: int, **fields: Any) -> list[Asked]:
    return [Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"%d" % n, **fields)) for n in range(number)]


def unread(*then: Asked) -> Scene:
    """Messages that a user has not read."""

    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, publish(number))
        return list(then)

    return scene


def ceiling_lowered(broker: BrokerDriver, number: int) -> Asked:
    send(broker, publish(number))
    lower = ops.ChangeTopic(["max_messages", "drop_oldest"], ops.TopicSettings(1, 2**40, 0, True))
    send(broker, [Asked(Op.TOPIC_CHANGE, b"t", args=lower)])
    return publish(1)[0]


def jump(op: Op, args: type[ops.Take] | type[ops.Fetch], **fields: Any) -> Scene:
    """A cursor behind many messages."""

    def scene(broker: BrokerDriver, number: int) -> Asked:
        send(broker, publish(number))
        return Asked(op, b"t", b"u", args(after=True, epoch=broker.state.topics[b"t"].epoch, seq=number, **fields))

    return scene


def expired(*then: Asked) -> Scene:
    """Behind one that another user keeps."""

    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, [Asked(Op.SUBSCRIBE, b"t", b"keeper", ops.Settings()), *publish(1), *publish(number, ttl=1000)])
        send(broker, [Asked(Op.TAKE, b"t", b"u", ops.Take())])
        broker.clock.advance(2)
        broker.run_due()
        return list(then)

    return scene


def users(*then: Asked) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, [Asked(Op.SUBSCRIBE, b"t", b"user%05d" % n, ops.Settings()) for n in range(number)])
        return list(then)

    return scene


def topics(*then: Asked) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, [Asked(Op.SUBSCRIBE, b"topic%05d" % n, b"u", ops.Settings()) for n in range(number)])
        return list(then)

    return scene


def long_polls(*then: Asked, each_user: bool = False) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        if each_user:
            users()(broker, number)
        for n in range(number):
            broker.wait(b"t", b"user%05d" % n if each_user else b"u", 1000)
        broker.settle()
        return list(then)

    return scene


def streams(*then: Asked) -> Scene:
    """Many streams of one mailbox."""

    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        args = ops.Wait(place=1, epoch=broker.state.topics[b"t"].epoch)
        send(broker, [Asked(Op.STREAM, b"t", b"u", ops.OpenStream())])
        for _ in range(number):
            assert broker.handle(broker.frames([Asked(Op.WAIT, b"t", b"u", args, 1000 * SECOND)])).replies == []
        broker.settle()
        return list(then)

    return scene


def read_ahead(broker: BrokerDriver, number: int) -> Asked:
    """Behind many messages that are not confirmed."""
    send(broker, publish(number))
    place = ops.Fetch(False, broker.state.topics[b"t"].epoch, 0, 3, 100, False, place=number)
    return Asked(Op.FETCH, b"t", b"u", place)


def confirmed(broker: BrokerDriver, number: int) -> Asked:
    send(broker, publish(number))
    return Asked(Op.CONFIRM, b"t", b"u", ops.Confirm(broker.state.topics[b"t"].epoch, number))


def all_cancelled(broker: BrokerDriver, number: int) -> list[Asked]:
    ids = [broker.wait(b"t", b"u", 1000) for _ in range(number)]
    broker.settle()
    return [Asked(Op.CANCEL, b"t", b"u", ops.Cancel(each)) for each in reversed(ids)]


def leased(*then: Asked, lease: int = 100 * HOUR) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, publish(number))
        for _ in range(number):
            assert broker.ask(Op.TAKE, b"t", b"u", ops.Take(lease=lease)).result is not None
        return list(then)

    return scene


def leases_lost(broker: BrokerDriver, number: int) -> Asked:
    """One of many leased messages is released."""
    leased()(broker, number)
    broker.dispatcher.context.move_head(broker.state.topics[b"t"], 2, "overflow")
    return Asked(Op.TAKE, b"t", b"u", ops.Take())


def returned_and_expired(broker: BrokerDriver, number: int) -> Asked:
    """Many await redelivery, and none of them may be delivered."""
    send(broker, [Asked(Op.SUBSCRIBE, b"t", b"keeper", ops.Settings()), *publish(1), *publish(number, ttl=7_200_000)])
    for _ in range(number + 1):
        broker.ask(Op.TAKE, b"t", b"u", ops.Take(lease=HOUR))
    broker.clock.advance(3600)
    broker.run_due()
    while broker.due_now():
        broker.dispatcher.run_due(broker.clock.now())
    broker.take(b"t", b"u")
    broker.clock.advance(3600)
    broker.run_due()
    return Asked(Op.LOOK, b"t", b"u")


def dead(*then: Asked) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        send(broker, [Asked(Op.CONFIGURE, b"t", b"u", ops.Settings(max_deliveries=1)), *publish(number)])
        for _ in range(number):
            broker.ask(Op.TAKE, b"t", b"u", ops.Take(lease=1))
        broker.clock.advance(1)
        while broker.due_now():
            broker.run_due()
        assert broker.state.delivery_totals.dead_letters == number
        return list(then)

    return scene


def receipt(broker: BrokerDriver) -> ops.Receipt:
    return ops.Receipt(broker.state.topics[b"t"].epoch, 1, 1)


def with_receipt(op: Op, args: Callable[[ops.Receipt], Any]) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> Asked:
        leased()(broker, number)
        return Asked(op, b"t", b"u", args(receipt(broker)))

    return scene


def keys(*then: Asked) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked] | None:
        for n in range(number):
            send(broker, [Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"", key=b"%d" % n, digest=bytes(16)))])
            send(broker, [Asked(Op.TAKE, b"t", b"u", ops.Take())])
        return list(then) or None

    return scene


def delayed(broker: BrokerDriver, number: int) -> None:
    send(broker, publish(number, delay=1000))


def delayed_then(*then: Asked) -> Scene:
    def scene(broker: BrokerDriver, number: int) -> list[Asked]:
        delayed(broker, number)
        return list(then)

    return scene


def old(broker: BrokerDriver, number: int) -> None:
    change = ops.ChangeTopic(["max_age"], ops.TopicSettings(0, 0, 1000, False))
    send(broker, [Asked(Op.TOPIC_CHANGE, b"t", args=change), *publish(number)])


def idle(broker: BrokerDriver, number: int) -> None:
    settings = ops.Settings(expires_after=1_000_000)
    send(broker, [Asked(Op.SUBSCRIBE, b"t", b"user%05d" % n, settings) for n in range(number)])
    broker.run_due()


def timed_out(broker: BrokerDriver, number: int) -> None:
    long_polls()(broker, number)


U, T = (b"t", b"u"), (b"t", b"")
ROWS = [
    Row(Op.STATS, "many topics", topics(Asked(Op.STATS))),
    Row(Op.SUBSCRIBE, "many users", users(Asked(Op.SUBSCRIBE, b"t", b"new", ops.Settings()))),
    Row(Op.UNSUBSCRIBE, "unread", unread(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.UNSUBSCRIBE, "long polls", long_polls(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.UNSUBSCRIBE, "leased", leased(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.UNSUBSCRIBE, "many users", users(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.UNSUBSCRIBE, "keys", keys(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.PUBLISH, "ceiling lowered", ceiling_lowered),
    Row(Op.PUBLISH, "long polls of one user", long_polls(*publish(3))),
    Row(Op.PUBLISH, "long polls of many users", long_polls(*publish(3), each_user=True)),
    Row(Op.TAKE, "jump", jump(Op.TAKE, ops.Take)),
    Row(Op.TAKE, "expired", expired(Asked(Op.TAKE, *U, ops.Take()))),
    Row(Op.TAKE, "lost", leases_lost),
    Row(Op.FETCH, "jump", jump(Op.FETCH, ops.Fetch, max=3, max_bytes=100, one_run=False)),
    Row(Op.FETCH, "expired", expired(Asked(Op.FETCH, *U, ops.Fetch(False, "", 0, 3, 100, False)))),
    Row(Op.LOOK, "expired", expired(Asked(Op.LOOK, *U), Asked(Op.LOOK, *U))),
    Row(Op.LOOK, "returned and expired", returned_and_expired),
    Row(Op.WAIT, "long polls", long_polls(Asked(Op.WAIT, *U, ops.Wait()))),
    Row(Op.SKIP, "long polls", long_polls(Asked(Op.SKIP, *U))),
    Row(Op.CANCEL, "long polls", all_cancelled),
    Row(Op.STREAM, "streams", streams(Asked(Op.STREAM, *U, ops.OpenStream()))),
    Row(Op.FETCH, "read ahead", read_ahead),
    Row(Op.PUBLISH, "streams", streams(*publish(3))),
    Row(Op.PUBLISH_APART, "keys", keys(Asked(Op.PUBLISH_APART, b"t", args=apart(b"1", b"2", keys=[b"0", b"new"])))),
    Row(Op.PUBLISH_APART, "long polls", long_polls(Asked(Op.PUBLISH_APART, b"t", args=apart(b"1", b"2")))),
    Row(Op.TAKE, "streams and a lease", streams(*publish(1), Asked(Op.TAKE, *U, ops.Take(lease=HOUR)))),
    Row(Op.UNSUBSCRIBE, "streams", streams(Asked(Op.UNSUBSCRIBE, *U))),
    Row(Op.CONFIRM, "unread", confirmed),
    Row(Op.CONFIGURE, "leased", leased(Asked(Op.CONFIGURE, *U, ops.Settings(max_deliveries=9)))),
    Row(Op.FINISH, "leased", with_receipt(Op.FINISH, lambda each: ops.Finish([each]))),
    Row(Op.EXTEND, "leased", with_receipt(Op.EXTEND, lambda each: ops.Extend(each, HOUR))),
    Row(Op.DEAD_LIST, "dead", dead(Asked(Op.DEAD_LIST, *U, ops.ListDead(0, 3, 100)))),
    Row(Op.TOPICS, "many topics", topics(Asked(Op.TOPICS, args=ops.ListTopics(b"", b"", 1000)))),
    Row(Op.TOPIC, "many users", users(*publish(1), Asked(Op.TOPIC, *T, ops.DescribeTopic(b"", 5)))),
    Row(
        Op.TOPIC_CHANGE,
        "unread",
        unread(Asked(Op.TOPIC_CHANGE, *T, ops.ChangeTopic(["max_age"], ops.TopicSettings(0, 0, 1, False)))),
    ),
    Row(Op.TOPIC_END, "many users", users(Asked(Op.TOPIC_END, *T, ops.EndTopic(max=10**6)))),
    Row(Op.USERS, "many users", users(Asked(Op.USERS, *T, ops.ListUsers(b"", 1000)))),
    Row(Op.USER, "leased", leased(Asked(Op.USER, *U))),
    Row(Op.PEEK, "leased", leased(Asked(Op.PEEK, *U, ops.Peek(5, 100)))),
    Row(Op.PEEK, "expired", expired(Asked(Op.PEEK, *U, ops.Peek(5, 100)))),
    Row(Op.PURGE, "unread", unread(Asked(Op.PURGE, *U))),
    Row(Op.DELAYED_TOPICS, "delayed", delayed_then(Asked(Op.DELAYED_TOPICS, args=ops.ListDelayedTopics(b"", 3)))),
    Row(Op.DELAYED, "delayed", delayed_then(Asked(Op.DELAYED, *T, ops.ListDelayed(0, 3)))),
    Row(Op.DELAYED_END, "delayed", delayed_then(Asked(Op.DELAYED_END, *T, ops.EndDelayed(1, 1)))),
    Row(Op.DELAYED_CLEAR, "delayed", delayed_then(Asked(Op.DELAYED_CLEAR, *T, ops.ClearDelayed(10**6)))),
    Row(None, "leases end", lambda broker, number: (leased(lease=HOUR)(broker, number), None)[1]),
    Row(None, "delays end", delayed),
    Row(None, "messages are too old", old),
    Row(None, "subscriptions are idle", idle),
    Row(None, "keys are too old", keys()),
    Row(None, "long polls end", timed_out),
]
BOUNDED = {
    Op.PING: "names only",
    Op.GOODBYE: "nothing",
    Op.PAUSE: "a flag",
    Op.BACKUP: "a copy in steps",
    Op.BACKUP_READ: "a part of a file",
    Op.REPLICA: "a few numbers",
    Op.HAND_OVER: "a name",
    Op.MOVE: "a number of slots",
    Op.MOVE_ABORT: "a number of slots",
    Op.CLAIM: "a number of slots",
    Op.SLOTS: "a number of slots, and the scan budget",
    Op.OFFER: "a few numbers",
    Op.ADOPT: "the size of a part",
    Op.MOVE_ASK: "a few numbers",
    Op.MOVES_PAUSE: "a flag",
    Op.SLOTS_DROP: "a number of slots; what is in them is ended in steps",
    Op.DEAD_RETURN: "the ceiling of dead letters",
    Op.DEAD_CLEAR: "the ceiling of dead letters",
}
"""Operations without a row, and what bounds them."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.op.name if row.op else 'due'}: {row.name}")
def test_the_longest_turn_does_not_grow_with_what_there_is(row: Row) -> None:
    few, many = longest_turn(row.scene, FEW), longest_turn(row.scene, MANY)
    assert many - few < STEP * (MANY - FEW), f"{few} instructions with {FEW} entries, {many} with {MANY}"


def test_every_operation_is_looked_at() -> None:
    assert {row.op for row in ROWS if row.op} | BOUNDED.keys() == set(Op)
    assert DEFAULT.scan < 10_000
