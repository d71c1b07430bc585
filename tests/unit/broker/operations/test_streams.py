"""Streams: a place of their own, which reads ahead of what is confirmed. Transcripts on a manual clock."""

from __future__ import annotations

from typing import Any

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import SECOND, Answer, Asked, BrokerDriver, Told, bodies_of


class StreamDriver(BrokerDriver):
    """A broker with one topic `t`."""

    def open(self, user: bytes = b"u", cursor: str | None = None) -> Answer:
        epoch, _, seq = (cursor or "0").rpartition("-")
        return self.ask(Op.STREAM, b"t", user, ops.OpenStream(cursor is not None, epoch, int(seq)))

    def ahead(self, place: int, user: bytes = b"u", *, most: int = 1000, room: int = 0, epoch: str = "") -> Answer:
        epoch = epoch or self.state.topics[b"t"].epoch
        return self.ask(Op.FETCH, b"t", user, ops.Fetch(False, epoch, 0, most, 2**20, False, room=room, place=place))

    def confirm(self, seq: int, stream: int = 0, user: bytes = b"u") -> Answer:
        return self.ask(Op.CONFIRM, b"t", user, ops.Confirm(self.state.topics[b"t"].epoch, seq, stream))

    def follow(self, place: int, stream: int = 1, user: bytes = b"u", seconds: float = 60) -> int:
        """Park the wait of a stream. Return its id."""
        args = ops.Wait(place=place, epoch=self.state.topics[b"t"].epoch, stream=stream)
        assert self.handle(self.frames([Asked(Op.WAIT, b"t", user, args, int(seconds * SECOND))])).replies == []
        return self.next_id - 1

    def position(self, user: bytes = b"u") -> int:
        return self.state.topics[b"t"].subscriptions[user].position


@pytest.fixture
def broker() -> StreamDriver:
    broker = StreamDriver()
    broker.subscribe(b"t", b"u")
    return broker


def woken(told: list[Told]) -> list[int]:
    assert all(each.now for each in told)
    return sorted(each.id for each in told)


def seen(answer: Answer) -> tuple[list[bytes], int]:
    """Return the bodies that a stream was given, and the position."""
    found: Any = answer.result
    return bodies_of(found), found.position


def test_a_stream_reads_ahead_and_takes_nothing(broker: StreamDriver) -> None:
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    opened = broker.open().result
    assert (opened.epoch, opened.position) == (broker.state.topics[b"t"].epoch, 1)
    assert seen(broker.ahead(1)) == ([b"1", b"2", b"3"], 1)
    assert seen(broker.ahead(3)) == ([b"3"], 1)
    assert seen(broker.ahead(4)) == ([], 1)
    assert broker.position() == 1
    assert broker.bodies(b"t", b"u") == [b"1", b"2", b"3"]


def test_what_is_confirmed_is_done(broker: StreamDriver) -> None:
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    assert broker.confirm(2).result.done
    assert broker.position() == 3
    assert broker.confirm(1).result.done, "an older cursor changes nothing"
    assert broker.position() == 3
    epoch = broker.state.topics[b"t"].epoch
    assert broker.confirm(4).code == "cursor-lost"
    assert broker.confirm(3, user=b"nobody").code == "no-subscription"
    assert broker.open(cursor=f"{epoch}-3").result.position == 4
    assert broker.open(cursor="beef-3").code == "cursor-lost"


def test_a_stream_that_was_overtaken_goes_on_at_the_position(broker: StreamDriver) -> None:
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    broker.confirm(2)
    assert seen(broker.ahead(1)) == ([b"3"], 3)


def test_timed_confirmations_of_the_newest_stream_count(broker: StreamDriver) -> None:
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    older, newer = broker.open().result.number, broker.open().result.number
    assert newer > older
    assert not broker.confirm(2, older).result.done
    assert broker.position() == 1
    assert broker.confirm(1, newer).result.done
    assert broker.position() == 2
    assert broker.confirm(2).result.done, "what the client itself confirms always counts"
    assert broker.position() == 3


def test_the_newest_stream_is_remembered_while_it_is_used(broker: StreamDriver) -> None:
    broker.publish(b"t", b"1")
    older, newer = broker.open().result.number, broker.open().result.number
    for _ in range(10):
        broker.elapse(200)
        broker.follow(2, newer, seconds=1)
        assert not broker.confirm(1, older).result.done
    numbers = broker.dispatcher.context.streams
    assert sum(map(len, (*numbers._recent.values(), *numbers._former.values()))) <= 4
    broker.elapse(1000)
    broker.settle()
    assert broker.confirm(1, older).result.done, "nobody else has used the mailbox for a long time"


def test_another_stream_is_the_newest_when_that_has_ended(broker: StreamDriver) -> None:
    broker.publish(b"t", b"1")
    first, second, third = (broker.open().result.number for _ in range(3))
    broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(0, third))
    assert not broker.confirm(1, first).result.done
    assert broker.confirm(1, second).result.done
    for number in (first, second):
        broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(0, number))
    numbers = broker.dispatcher.context.streams
    assert (numbers._recent, numbers._former) == ({}, {})


def test_numbers_of_streams_grow_across_restarts(broker: StreamDriver) -> None:
    before = broker.open().result.number
    broker.clock.advance(1)
    broker.restart()
    broker.subscribe(b"t", b"u")
    assert broker.open().result.number > before


def test_a_message_wakes_every_stream_of_its_mailbox(broker: StreamDriver) -> None:
    broker.subscribe(b"t", b"other")
    mine = [broker.follow(1) for _ in range(5)]
    other = broker.follow(1, user=b"other")
    assert broker.settle() == []
    broker.publish(b"t", b"1")
    assert woken(broker.settle()) == [*mine, other]
    assert broker.dispatcher.waiters.count == 0
    late = broker.follow(1)
    assert woken(broker.settle()) == [late], "the message is there already"
    ahead = broker.follow(2)
    assert broker.settle() == []
    broker.publish(b"t", b"2")
    assert woken(broker.settle()) == [ahead]


def test_streams_and_long_polls_of_a_mailbox_do_not_wake_each_other(broker: StreamDriver) -> None:
    stream, first, second = broker.follow(1), broker.wait(b"t", b"u"), broker.wait(b"t", b"u")
    broker.publish(b"t", b"1")
    assert woken(broker.settle()) == [stream, first]
    assert seen(broker.ahead(1)) == ([b"1"], 1)
    assert broker.settle() == [], "the read of a stream follows no wake"
    assert broker.take(b"t", b"u").result.body == b"1"
    broker.publish(b"t", b"2")
    assert woken(broker.settle()) == [second]


def test_streams_are_woken_in_turns_of_few(broker: StreamDriver) -> None:
    most = broker.thresholds.wakes
    parked = [broker.follow(1) for _ in range(2 * most + 5)]
    broker.publish(b"t", b"1")
    turns = [len(broker.turn()) for _ in range(3)]
    assert turns == [most, most, 5]
    assert broker.dispatcher.waiters.count == 0 < len(parked)


def test_the_end_of_a_subscription_wakes_its_streams(broker: StreamDriver) -> None:
    broker.subscribe(b"t", b"stays")
    epoch = broker.state.topics[b"t"].epoch
    stream = broker.follow(1)
    broker.unsubscribe(b"t", b"u")
    assert woken(broker.settle()) == [stream]
    assert broker.ahead(1).code == "no-subscription"
    broker.subscribe(b"t", b"u")
    assert broker.ahead(1, epoch=epoch).code == ""
    assert broker.ahead(1, epoch="beef").code == "no-subscription", "the topic began again"


def test_a_lease_wakes_streams_and_ends_them(broker: StreamDriver) -> None:
    broker.publish(b"t", b"1")
    broker.ahead(1)
    stream = broker.follow(2)
    assert broker.settle() == []
    broker.lease(b"t", b"u")
    assert woken(broker.settle()) == [stream]
    assert broker.ahead(2).code == broker.open().code == broker.confirm(1).code == "leases-out"
    args = ops.Wait(place=2, epoch=broker.state.topics[b"t"].epoch)
    assert broker.ask(Op.WAIT, b"t", b"u", args).code == "leases-out"


def test_a_wait_ends_at_its_time_and_by_a_cancel(broker: StreamDriver) -> None:
    stream = broker.follow(1, seconds=5)
    broker.elapse(6)
    assert [(each.id, each.now) for each in broker.settle()] == [(stream, False)]
    stream = broker.follow(1)
    broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(stream))
    assert [(each.id, each.now) for each in broker.settle()] == [(stream, False)]
    assert broker.dispatcher.waiters._topics == {}


def test_an_idle_subscription_does_not_end_while_a_stream_waits(broker: StreamDriver) -> None:
    broker.configure(b"t", b"u", expires_after=10 * SECOND)
    broker.follow(1, seconds=100)
    broker.elapse(50)
    assert broker.look(b"t", b"u").code == ""


def test_a_stream_passes_over_what_has_expired_and_counts_it(broker: StreamDriver) -> None:
    broker.publish(b"t", b"1")
    broker.publish(b"t", b"2", ttl=1000)
    broker.publish(b"t", b"3")
    broker.elapse(2)
    assert seen(broker.ahead(1, most=1)) == ([b"1"], 1)
    assert seen(broker.ahead(2)) == ([b"3"], 1)
    assert broker.dispatcher.context.counters["skipped.ttl"] == 1


def test_a_message_without_room_is_refused_with_its_size(broker: StreamDriver) -> None:
    broker.publish(b"t", b"1")
    broker.publish(b"t", b"x" * 100)
    answer = broker.ahead(2, room=50)
    assert (answer.code, dict(answer.fields)) == ("answer-too-large", {"size": 100})
    assert seen(broker.ahead(1, room=50))[0] != []
