"""What a front has under way to a broker waits for room; what a broker has under way to fronts is counted."""

from __future__ import annotations

from typing import Any

import pytest

from broker.dispatch.traffic import FUSE, Traffic
from common.errors import FanmailError
from common.protocol import ops
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.call import Call, answer_room
from httpfront.gateway.windows import Windows
from tests.support.table import table


def windows(bodies: int = 10, answers: int = 10) -> Windows:
    status = BrokerStatus("fanmail", "b0")
    status.windows = (bodies, answers)
    return Windows(status)


def call(number: int, body: int = 0, room: int = 0, expires: float = 9.0) -> Call:
    return Call(number, b"packed", bytes(body) if body else None, expires, 7, room)


@table("kind", ["body", "room"])
def test_what_is_more_than_the_window_waits_its_turn(kind: str) -> None:
    ours = windows()
    first, second, third, small = (call(n, **{kind: size}) for n, size in enumerate((6, 5, 1, 0)))
    assert ours.admit(first)
    assert not ours.admit(second)
    assert not ours.admit(third), "nothing overtakes what waits"
    assert ours.admit(small), "but what has no weight"
    assert ours.next() == []
    ours.over(first)
    assert ours.next() == [second, third]
    assert ours.waiting == 0
    ours.over(second)
    ours.over(third)
    assert (ours.bodies, ours.answers) == (0, 0)


def test_one_is_always_let_through_and_without_windows_all_are() -> None:
    ours = windows()
    assert ours.admit(call(1, body=11, room=11))
    assert not ours.admit(call(2, body=1))
    free = windows(0, 0)
    assert all(free.admit(call(n, body=2**20, room=2**20)) for n in range(9))


def test_what_waited_for_too_long_is_given_up_and_the_rest_when_the_broker_goes() -> None:
    ours = windows()
    ours.admit(call(1, body=10))
    late, patient = call(2, body=10, expires=1.0), call(3, body=10, expires=9.0)
    assert not ours.admit(late)
    assert not ours.admit(patient)
    assert ours.overdue(0.9) == []
    assert ours.overdue(1.0) == [late]
    assert ours.give_up() == [patient]
    assert ours.bodies == 10, "only what was let through was counted"


@table(
    ("args", "room"),
    [
        (ops.Take(room=5), 5),
        (ops.Fetch(False, "", 0, 9, 7, False, room=3), 7),
        (ops.Fetch(False, "", 0, 9, 1, False, room=3), 3),
        (ops.ListDead(0, 9, 7), 7),
        (ops.Peek(9, 7), 7),
        (ops.Publish(b"", b"x"), 0),
        (ops.TopicSettings(max_bytes=9), 0),
    ],
)
def test_the_room_of_an_answer_is_what_was_asked_for(args: Any, room: int) -> None:
    assert answer_room(args) == room


# --- the broker's side


def speaking(*peers: bytes, window: int = 10) -> Traffic:
    traffic = Traffic(window)
    for peer in peers:
        traffic.begin(peer)
        traffic.taken(peer, 0)
    return traffic


def test_fronts_share_the_window() -> None:
    traffic = Traffic(12)
    assert traffic.windows() == (12, 12)
    for n in range(3):
        traffic.begin(b"%d" % n)
    assert traffic.windows() == (4, 4)
    traffic.forget(b"1")
    assert traffic.windows() == (6, 6)
    assert Traffic().windows() == (0, 0)


def test_answers_are_under_way_until_the_front_says_that_it_has_read_them() -> None:
    traffic = speaking(b"a", b"b")
    assert traffic.sent(b"a", 5) == 5
    assert traffic.sent(b"a", 2) == 7
    assert traffic.sent(b"b", 3) == 3
    assert traffic.answers == 10
    traffic.taken(b"a", 5)
    assert traffic.answers == 5
    for nonsense in (8, 2**62, -1):
        traffic.taken(b"a", nonsense)
    assert traffic.answers == 5
    traffic.forget(b"a")
    assert traffic.answers == 3
    traffic.forget(b"a")
    traffic.taken(b"b", 3)
    assert traffic.answers == 0


def test_a_front_that_does_not_say_what_it_reads_is_not_counted_until_it_does() -> None:
    traffic = Traffic(10)
    traffic.begin(b"old")
    traffic.sent(b"old", 50)
    assert traffic.answers == 0
    traffic.taken(b"old", 20)
    assert traffic.answers == 30
    assert traffic.sent(b"never heard of", 5) == 0


@table("args", [ops.Take(room=3), ops.Fetch(False, "", 0, 9, 3, False), ops.ListDead(0, 9, 3), ops.Peek(9, 3)])
def test_over_the_fuse_nothing_more_is_handed_out(args: Any) -> None:
    traffic = speaking(b"a", window=5)
    traffic.sent(b"a", FUSE * 5 - 3)
    traffic.check(b"a", args)
    traffic.sent(b"a", 1)
    traffic.check(b"a", ops.Publish(b"", b"x"))
    with pytest.raises(FanmailError) as refused:
        traffic.check(b"a", args)
    assert (refused.value.code, refused.value.spec.status) == ("broker-busy", 503)
