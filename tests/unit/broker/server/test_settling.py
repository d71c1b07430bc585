"""What the loop does while a burst is under way: nobody is told of it, and from a second on all else is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
import zmq

from broker.dispatch.reply import Outgoing
from broker.errors import StoreError
from broker.records import Record
from broker.server.listener import Listener
from broker.server.loop import Server
from broker.server.process import Process
from common.clock import NEW, Mark
from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.support.driver import Asked, BrokerDriver
from tests.support.mirror import MirrorStore

PUBLISH = Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"hello"))
LOOK = Asked(Op.LOOK, b"t", b"u")


class SlowStore(MirrorStore):
    """A fenced store that settles when a test says so."""

    fenced = True

    def __init__(self) -> None:
        super().__init__("0badcafe")
        self.begun: list[int] = []
        """The number of records of each burst."""
        self.cuts: list[tuple[int, ...]] = []
        self.looks: list[Callable[[], object]] = []
        """What happens at the looks at a burst that is under way; it is settled after them."""

    def begin(self, records: Sequence[Record], clock: Mark = NEW, cuts: Sequence[int] = ()) -> None:
        self.begun.append(len(records))
        self.cuts.append(tuple(cuts))
        if records:
            super().begin(records, clock)

    def settled(self) -> bool:
        if not self.looks:
            return True
        self.looks.pop(0)()
        return False


class Loop:
    """A loop without fronts, whose messages are made up."""

    def __init__(self, stack: ExitStack) -> None:
        self.store = SlowStore()
        self.broker = BrokerDriver(store=self.store)
        ends = os.pipe2(os.O_NONBLOCK)
        for end in ends:
            stack.callback(os.close, end)
        listener = Listener(2**20, None, {})
        stack.callback(listener.close)
        self.arriving: list[list[bytes]] = []
        listener.receive = self._receive  # type: ignore[method-assign]
        process = Process(ends[0], lambda: None)
        self.server = Server(listener, self.broker.dispatcher, self.store, self.broker.clock, process)
        self.answers: list[str] = []
        """The codes of the replies."""
        self.server._outbox.reply = self._reply  # type: ignore[method-assign, assignment]

    def _receive(self) -> list[bytes]:
        if not self.arriving:
            raise zmq.Again
        return self.arriving.pop(0)

    def _reply(self, peer_id: bytes, outgoing: Sequence[Outgoing]) -> None:
        self.answers += [wire.code_of(each.packed) for each in outgoing]

    def message(self, *asked: Asked) -> list[bytes]:
        return [b"front", *self.broker.frames(asked)]

    def work(self, *asked: Asked) -> list[str]:
        """Run a turn with one message; return the codes of what was answered."""
        self.answers = []
        self.server._work([self.message(*asked)])
        return self.answers


@pytest.fixture
def loop() -> Iterator[Loop]:
    with ExitStack() as stack:
        made = Loop(stack)
        made.work(Asked(Op.SUBSCRIBE, b"t", b"u"))
        made.store.begun.clear()
        made.store.cuts.clear()
        yield made


def test_nobody_is_answered_before_the_burst_is_settled(loop: Loop) -> None:
    seen: list[list[str]] = []
    loop.store.looks = [lambda: seen.append(list(loop.answers))] * 2
    assert loop.work(PUBLISH) == [""]
    assert seen == [[], []]


def test_within_a_second_nothing_is_received(loop: Loop) -> None:
    loop.arriving = [loop.message(Asked(Op.PING, args=ops.Ping("fanmail", "b0")))]
    loop.store.looks = [lambda: loop.broker.clock.advance(0.9)]
    assert loop.work(PUBLISH) == [""]
    assert len(loop.arriving) == 1


def test_after_a_second_pings_are_answered_and_all_else_is_refused(loop: Loop) -> None:
    pause = Asked(Op.PAUSE, args=ops.Pause(on=True))
    ping = Asked(Op.PING, args=ops.Ping("fanmail", "b0"))
    loop.arriving = [loop.message(ping, Asked(Op.STATS), PUBLISH, LOOK, pause)]
    loop.store.looks = [lambda: loop.broker.clock.advance(1.1), lambda: None]
    assert loop.work(PUBLISH) == ["", "", "log-stalled", "log-stalled", "log-stalled", ""]
    assert loop.work(LOOK) == [""], "it goes on"
    assert loop.broker.state.messages == 1


def test_parked_requests_end_at_their_deadlines_and_hear_no_news(loop: Loop) -> None:
    assert loop.work(Asked(Op.WAIT, b"t", b"u", ops.Wait(), 2_000_000)) == []
    told: list[int] = []
    loop.store.looks = [
        lambda: loop.broker.clock.advance(1.1),
        lambda: told.append(len(loop.answers)),
        lambda: loop.broker.clock.advance(1),
    ]
    assert loop.work(PUBLISH) == ["", ""]
    assert told == [0]


def test_a_burst_that_is_begun_at_the_end_of_a_drain_is_waited_for(loop: Loop) -> None:
    """As the heartbeat of a candidate: fronts that say no goodbye let a drain end with one."""
    loop.server.stop()
    loop.server._housekeeping()
    loop.store.looks = [lambda: None, lambda: loop.broker.clock.advance(1.9)]
    loop.server._commit([], [])
    assert not loop.store.looks


def test_a_stopping_broker_does_not_wait_for_ever(loop: Loop) -> None:
    loop.store.looks = [loop.server.stop, lambda: loop.broker.clock.advance(2.1), lambda: None]
    with pytest.raises(StoreError):
        loop.work(PUBLISH)
    assert loop.answers == []


@pytest.mark.parametrize(
    ("asked", "begun"),
    [
        (LOOK, [0]),
        (Asked(Op.TAKE, b"t", b"nobody", ops.Take()), [0]),
        (Asked(Op.UNSUBSCRIBE, b"none", b"u"), [0]),
        (Asked(Op.TOPICS, args=ops.ListTopics(b"", b"", 10)), [0]),
        (Asked(Op.WAIT, b"t", b"nobody", ops.Wait()), [0]),
        (Asked(Op.PING, args=ops.Ping("fanmail", "b0")), []),
        (Asked(Op.STATS), []),
        (Asked(Op.LOOK, b"t", b"u", timeout=-1), []),
        (Asked(Op.WAIT, b"t", b"u", ops.Wait()), []),
    ],
    ids=lambda each: each.op.name if isinstance(each, Asked) else str(each),
)
def test_what_depends_on_the_state_begins_a_burst_of_its_own(loop: Loop, asked: Asked, begun: list[int]) -> None:
    loop.work(asked)
    assert loop.store.begun == begun


def test_a_burst_may_be_cut_between_requests(loop: Loop) -> None:
    loop.work(PUBLISH, LOOK, PUBLISH, PUBLISH)
    assert (loop.store.begun, loop.store.cuts) == ([3], [(1, 1, 2, 3)])
