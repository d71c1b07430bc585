"""Ends of reads and of connections: what the caller gets, and that an outage is no silence."""

from __future__ import annotations

import asyncio
import threading
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from fanmail import AsyncClient, Client, NoSubscription, Retries, TooLarge, Unavailable
from fanmail.session import ops
from fanmail.session.aio import _next as next_async
from fanmail.session.reads import Read
from fanmail.session.sync import _next
from tests.client.fake_sessions import FakeSessions, Members, message, ok, problem
from tests.client.test_session_acks import leased
from tests.client.test_session_connections import QUICK, messages
from tests.client.test_session_state import Mailbox, Play

MIB = 1024 * 1024
GONE: dict[str, Any] = {"op": "end", "topic": "t", "user": "u", "status": 404, "code": "no-subscription", "detail": ""}


def test_a_connection_that_ends_while_a_large_publish_is_written_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with FakeSessions() as server, Client(server.url, retries=QUICK) as client, client.session() as session:
        answers = [session.publish_soon("t", body) for body in ("a", "x" * (8 * MIB), "b")]
        assert [type(each.exception()) for each in answers] == [type(None), TooLarge, type(None)]
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def unsubscribed(connection: Any, op: Members) -> None:
    problem(connection, op, 404, "no-subscription")


@pytest.mark.parametrize("mode", ["after", "lease"])
def test_a_loop_with_a_full_window_ends_when_the_subscription_has_ended(mode: Any) -> None:
    answers = messages(1, 2, receipts=mode == "lease")
    server = FakeSessions(read=answers, ack=unsubscribed)
    with server, Client(server.url) as client, client.session() as session:
        loop = session.read("t", "u", mode=mode, window=2)
        seen = [next(loop), next(loop)]
        if mode == "lease":
            assert all(isinstance(session.acknowledge_soon(each).exception(), NoSubscription) for each in seen)
        with pytest.raises(NoSubscription, match="Subscribe again"):
            next(loop)
        assert server.await_ops("stop", 1), "or the server would refuse to read it again"


@pytest.mark.parametrize("told", ["before", "after", "never"])
def test_an_end_is_told_once_and_not_to_the_next_read(told: str, caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    box = Mailbox(play, window=1)
    play.ok(*play.sent())
    box.say(1, 2)
    box.handle(box.take())
    (ack,) = play.sent()
    if told == "before":
        play.say(**GONE)
    play.refuse(ack, 404, "no-subscription")
    following = Mailbox(play)
    assert [each["op"] for each in play.sent()] == (["read"] if told == "before" else ["stop", "read"])
    if told == "after":
        play.say(**GONE)
    assert not following.items
    last = box.take()
    with pytest.raises(NoSubscription):
        box.take()
    box.handle(last)
    (ack,) = play.sent()
    play.refuse(ack, 404, "no-subscription")
    assert not box.items
    assert not caplog.records


def test_an_acknowledgement_ends_the_read_that_it_is_of_only() -> None:
    play = Play()
    box = Mailbox(play, mode="lease")
    play.ok(*play.sent())
    play.begin(ops.acknowledge(leased(1, "other")))
    play.refuse(*play.sent(), 404, "no-subscription")
    for status, code in ((409, "lease-lost"), (404, "no-topic")):
        play.begin(ops.acknowledge(leased(1)))
        play.refuse(*play.sent(), status, code)
    assert not box.items
    play.begin(ops.give_back(leased(1)))
    play.refuse(*play.sent(), 404, "no-subscription")
    assert isinstance(box.items.pop(), NoSubscription)


def test_only_the_time_in_which_the_server_has_the_read_open_is_a_silence() -> None:
    play = Play()
    read = Mailbox(play, wait=5).read
    began = play.now
    look = read.left_s(began, began + 100)
    assert look, "it has not been opened"
    play.now += 100
    (op,) = play.sent()
    play.ok(op)
    assert [read.left_s(began, play.now + passed) for passed in (0, 3, 5, 9)] == [5, 2, 0, 0]
    assert read.left_s(play.now + 2, play.now + 3) == 4, "a message came meanwhile"
    (op,) = play.reconnect()
    assert read.left_s(began, play.now + 100) == look
    play.now += 100
    play.ok(op)
    assert read.left_s(began, play.now) == 5
    play.say(**GONE | {"status": 503, "code": "unavailable"})
    assert read.left_s(began, play.now + 100) == look
    play.ok(*play.sent())
    play.state.lost(Unavailable("cut"))
    assert read.left_s(began, play.now + 100) == look
    assert Mailbox(Play()).read.left_s(0, 100) is None


def test_a_paused_read_is_not_silent() -> None:
    play = Play()
    box = Mailbox(play, mode="take", window=1, wait=5)
    play.ok(*play.sent())
    box.say(1, 2)
    assert [each["op"] for each in play.sent()] == ["stop"]
    play.state.lost(Unavailable("cut"))
    for _ in range(2):
        box.handle(box.take())
    assert box.read.left_s(play.now, play.now + 100), "it goes on when there is a server again"
    play.state.opened()
    play.ok(*play.sent())
    play.ok(*play.sent())
    assert box.read.left_s(play.now, play.now + 5) == 0


class Steps:
    """A clock, and a queue of which every wait takes as long as it may; then something happens."""

    def __init__(self, read: Read, *events: float | str) -> None:
        self.now, self.waits, self._read, self._events = 0.0, list[float](), read, list(events)

    def clock(self) -> float:
        return self.now

    def get(self, timeout: float) -> Any:
        self.waits.append(timeout)
        self.now += timeout
        if self._events:
            event = self._events.pop(0)
            if isinstance(event, str):
                return event
            self._read.open_since = event
        raise Empty


def test_a_loop_waits_until_it_was_open_and_silent_long_enough() -> None:
    read = Read("t", "u", {"wait": 5})
    steps: Any = Steps(read, float("inf"), 8.0)
    assert _next(steps, read, steps.clock) is None
    assert steps.now == 13.0
    read.open_since, steps = float("inf"), Steps(read, float("inf"), "message")
    found: list[Any] = [_next(steps, read, steps.clock)]
    assert found == ["message"]
    read.wait, read.open_since = 0, 0.0
    items: SimpleQueue[Any] = SimpleQueue()
    items.put("last")
    found = [_next(items, read, lambda: 9.0) for _ in range(2)]
    assert found == ["last", None]


def test_a_loop_without_a_server_raises_after_the_patience_of_its_session() -> None:
    with FakeSessions(read=messages(1)) as server:
        client = Client([server.url, "http://127.0.0.1:1"], retries=Retries(total=1.0, base=0.01, max_pause=0.05))
        with client, client.session() as session:
            loop = session.read("t", "u", wait=0.5)
            assert next(loop).id == "e-1"
            server.refusals = [(503, "draining")] * 1000
            server.drop()
            with pytest.raises(Unavailable):
                next(loop)


def test_asyncio_counts_silence_in_the_same_way() -> None:
    async def waited(read: Read, *items: str) -> list[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        for each in items:
            queue.put_nowait(each)
        clock = asyncio.get_running_loop().time
        asyncio.get_running_loop().call_later(0.2, lambda: setattr(read, "open_since", clock()))
        return [await next_async(queue, read, clock) for _ in range(len(items) + 1)] + [read.open_since < clock()]

    assert asyncio.run(waited(Read("t", "u", {"wait": 0.05}), "last")) == ["last", None, True]


def test_a_loop_goes_on_after_an_outage_that_is_longer_than_its_silence() -> None:
    def later(connection: Any, op: Members) -> None:
        assert free.wait(30)
        message(connection, op, 2)
        ok(connection, op)

    async def run(url: str) -> list[str]:
        found = []
        async with AsyncClient(url, retries=QUICK) as client, client.session() as session:
            async for each in session.read("t", "u", wait=0.4):
                found.append(each.id)
                if each.id == "e-1":
                    server.answers["read"] = later
                    server.drop()
                    asyncio.get_running_loop().call_later(0.9, free.set)
        return found

    free = threading.Event()
    with FakeSessions(read=messages(1)) as server:
        assert asyncio.run(run(server.url)) == ["e-1", "e-2"]
