"""Long polls over raw sockets: the front's own code, with a gateway whose brokers the test plays."""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest
from greenlet import getcurrent, greenlet

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.api.app import create_app
from httpfront.api.parts import AppParts
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.gateway.gateway import Gateway
from httpfront.server.server import FrontServer
from httpfront.streams.table import StreamTable
from tests.http.playing import sessions_of
from tests.http.rawhttp import Client, drain, get, running, wait_for

LIMITS = MessageLimits(body=10**6, batch=10**6, batch_messages=100, fetch=100, fetch_bytes=10**6)
MAX_WAIT = 30


class Waiting(NamedTuple):
    """One WAIT as the gateway was asked for it; `parked` is the request that waits for it."""

    topic: bytes
    user: bytes
    until: float
    ticket: int
    parked: greenlet


@dataclass
class PlayedGateway:
    """In the place of `Gateway`: it hands out `messages` and says of a wait what the test says."""

    messages: deque[Any] = field(default_factory=deque)
    calls: list[tuple[Op, Any]] = field(default_factory=list)
    """What was asked for, without the waits."""
    waits: list[Waiting] = field(default_factory=list)
    """Every wait there was."""
    parked: deque[Waiting] = field(default_factory=deque)
    server: FrontServer | None = None
    ended: bool = False
    _soon: deque[Callable[[], None]] = field(default_factory=deque)

    def call(self, op: Op, topic: bytes, user: bytes, args: Any, body: bytes | None = None) -> Any:
        self.calls.append((op, args))
        if op in (Op.TAKE, Op.FETCH):
            found = self.messages.popleft() if self.messages else None
            if isinstance(found, FanmailError):
                raise found
            return found
        return ops.Status(2, "abc1", 7) if op is Op.LOOK else ops.Nothing()

    def wait(
        self, topic: bytes, user: bytes, until: float, ticket: int, on_disconnect: object = None
    ) -> ops.WaitResult:
        if self.ended:
            return ops.WaitResult(False, ticket)
        assert self.server is not None
        waiting = Waiting(topic, user, until, ticket, getcurrent())
        self.waits.append(waiting)
        self.parked.append(waiting)
        look = self.server.hub.park()
        if isinstance(look, FanmailError):
            raise look
        return cast(ops.WaitResult, look)

    def end_waits(self) -> None:
        self.ended = True
        while self.parked:
            self.tell(False)

    def brokers(self) -> dict[str, bool]:
        return {"b0": True}

    def tell(self, answer: bool | FanmailError, ticket: int = 7) -> None:
        """Answers the oldest wait. In the loop's thread."""
        assert self.server is not None
        value = ops.WaitResult(answer, ticket) if isinstance(answer, bool) else answer
        self.server.hub.resume(self.parked.popleft().parked, value)

    def soon(self, work: Callable[[], None]) -> None:
        """Has the loop do something. Any thread may call this."""
        assert self.server is not None
        self._soon.append(work)
        self.server.hub.wake()

    def look(self) -> None:
        while self._soon:
            self._soon.popleft()()

    @property
    def asked(self) -> list[Op]:
        return [op for op, _ in self.calls]


@contextmanager
def front(max_waiters: int = 100, share: int = 100) -> Iterator[PlayedGateway]:
    gateway = PlayedGateway()
    polls = LongPoll(cast(Gateway, gateway), MAX_WAIT, max_waiters, share)
    streams = StreamTable(cast(Gateway, gateway), 9)
    app = create_app(AppParts(cast(Gateway, gateway), polls, streams, sessions_of(streams), LIMITS, 255))
    with running(app) as server:
        gateway.server = server
        server.hub.each_turn(gateway.look)
        try:
            yield gateway
        finally:
            gateway.soon(gateway.end_waits)


@pytest.fixture
def gateway() -> Iterator[PlayedGateway]:
    with front() as played:
        yield played


def client_of(gateway: PlayedGateway) -> Client:
    assert gateway.server is not None
    return Client(gateway.server.port)


def waiting_client(gateway: PlayedGateway, *headers: str, target: str = "/t/u?wait=20") -> Client:
    """A client whose request waits."""
    before = len(gateway.waits)
    client = client_of(gateway).send(get(target, *headers))
    wait_for(lambda: len(gateway.waits) > before)
    return client


def message(seq: int, body: bytes = b"body") -> ops.Message:
    return ops.Message("abc1", seq, 1_700_000_000_000, 1, 0, b"", body)


def some_are_gone(gateway: PlayedGateway) -> bool:
    """Whether the server has seen that a client closed its side."""
    assert gateway.server is not None
    return any(each.check_client_disconnected() for each in list(gateway.server.connections.values()))


# --- a wait that is answered


def test_a_wait_ends_with_the_message(gateway: PlayedGateway) -> None:
    with waiting_client(gateway) as client:
        gateway.messages.append(message(5))
        gateway.soon(lambda: gateway.tell(True))
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"body")
        assert answer.headers["preference-applied"] == "wait=20"
        assert answer.headers["msg-id"] == "abc1-5"
        assert answer.headers["cache-control"] == "no-store"
    assert gateway.asked == [Op.TAKE, Op.TAKE]
    ((topic, user, _, ticket, _),) = gateway.waits
    assert (topic, user, ticket) == (b"t", b"u", 0)


def test_a_message_that_is_there_is_not_waited_for(gateway: PlayedGateway) -> None:
    gateway.messages.append(message(5))
    with client_of(gateway) as client:
        answer = client.get("/t/u?wait=20")
    assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=20")
    assert gateway.asked == [Op.TAKE]
    assert gateway.waits == []


def test_at_the_deadline_there_is_nothing(gateway: PlayedGateway) -> None:
    with waiting_client(gateway) as client:
        gateway.soon(lambda: gateway.tell(False))
        answer = client.answer()
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["preference-applied"] == "wait=20"
        assert "retry-after" not in answer.headers
    assert gateway.asked == [Op.TAKE], "what was not told to look is not looked for"


def test_who_comes_too_late_waits_on_with_its_ticket_and_the_time_left(gateway: PlayedGateway) -> None:
    with waiting_client(gateway) as client:
        gateway.soon(lambda: gateway.tell(True, ticket=41))
        wait_for(lambda: len(gateway.waits) == 2)
        gateway.soon(lambda: gateway.tell(True, ticket=41))
        wait_for(lambda: len(gateway.waits) == 3)
        gateway.messages.append(message(5))
        gateway.soon(lambda: gateway.tell(True, ticket=41))
        assert client.answer().status == 200
    assert [each.ticket for each in gateway.waits] == [0, 41, 41]
    assert len({each.until for each in gateway.waits}) == 1


@pytest.mark.parametrize(
    ("code", "status"), [("no-subscription", 404), ("broker-down", 503), ("cursor-lost", 410), ("outcome-unknown", 504)]
)
def test_a_woken_one_gets_the_error_that_it_finds(gateway: PlayedGateway, code: str, status: int) -> None:
    with waiting_client(gateway) as client:
        gateway.messages.append(FanmailError(code, "why", oldest="abc1-3"))
        gateway.soon(lambda: gateway.tell(True))
        answer = client.answer()
        problem = json.loads(answer.body)
        assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
        assert problem["oldest"] == "abc1-3"
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_broker_that_goes_while_one_waits_is_a_503(gateway: PlayedGateway) -> None:
    with waiting_client(gateway) as client:
        gateway.soon(lambda: gateway.tell(FanmailError("broker-down", "gone")))
        assert client.answer().status == 503
        assert gateway.asked == [Op.TAKE]


@pytest.mark.parametrize(
    ("target", "headers", "applied"),
    [
        ("/t/u?wait=0.5", [], "wait=0.5"),
        ("/t/u?wait=1000", [], "wait=30"),
        ("/t/u", ["Prefer: wait=20"], "wait=20"),
        ("/t/u", ["Prefer: respond-async, wait=1000"], "wait=30"),
        ("/t/u", ["Prefer: respond-async", "Prefer: wait=5"], "wait=5"),
        ("/t/u?wait=7", ["Prefer: wait=20"], "wait=7"),
    ],
)
def test_what_was_applied_is_told(gateway: PlayedGateway, target: str, headers: list[str], applied: str) -> None:
    with waiting_client(gateway, *headers, target=target) as client:
        gateway.soon(lambda: gateway.tell(False))
        answer = client.answer()
        assert (answer.status, answer.headers["preference-applied"]) == (204, applied)


@pytest.mark.parametrize(
    ("target", "headers", "applied"),
    [
        ("/t/u", [], None),
        ("/t/u?wait=0", [], "wait=0"),
        ("/t/u", ["Prefer: wait=0"], "wait=0"),
        ("/t/u", ["Prefer: wait=soon"], None),
        ("/t/u", ["Prefer: respond-async"], None),
        ("/t/u?wait=0", ["Prefer: wait=20"], "wait=0"),
    ],
)
def test_who_wants_no_wait_does_not_wait(
    gateway: PlayedGateway, target: str, headers: list[str], applied: str | None
) -> None:
    with client_of(gateway) as client:
        answer = client.get(target, *headers)
    assert (answer.status, answer.headers.get("preference-applied")) == (204, applied)
    assert gateway.waits == []


@pytest.mark.parametrize(
    "query", ["wait=", "wait=x", "wait=-1", "wait=nan", "wait=1e3", "wait=1&wait=1", "wiat=1", "after=x", "after=a-00"]
)
def test_a_bad_parameter_takes_nothing(gateway: PlayedGateway, query: str) -> None:
    gateway.messages.append(message(5))
    with client_of(gateway) as client:
        answer = client.get(f"/t/u?{query}")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-parameter")
    assert gateway.calls == []


# --- with a cursor, with several at once


def test_a_wait_asks_again_with_the_same_cursor(gateway: PlayedGateway) -> None:
    with waiting_client(gateway, target="/t/u?after=abc1-4&wait=20") as client:
        gateway.messages.append(message(5))
        gateway.soon(lambda: gateway.tell(True))
        assert client.answer().headers["msg-id"] == "abc1-5"
    assert gateway.calls == [(Op.TAKE, ops.Take(True, "abc1", 4))] * 2


@pytest.mark.parametrize(
    ("target", "headers", "args"),
    [
        ("/t/u", [], ops.Take()),
        ("/t/u?after=0", [], ops.Take(True)),
        ("/t/u?after=abc1-4", [], ops.Take(True, "abc1", 4)),
        ("/t/u", ["Last-Event-ID: abc1-4"], ops.Take(True, "abc1", 4)),
        ("/t/u?after=abc1-4", ["Last-Event-ID: abc1-4"], ops.Take(True, "abc1", 4)),
    ],
)
def test_the_cursor_reaches_the_broker(gateway: PlayedGateway, target: str, headers: list[str], args: ops.Take) -> None:
    with client_of(gateway) as client:
        assert client.get(target, *headers).status == 204
    assert gateway.calls == [(Op.TAKE, args)]


@pytest.mark.parametrize(
    ("target", "header"), [("/t/u?after=abc1-4", "abc1-5"), ("/t/u", "x"), ("/t/u", "5"), ("/t/u?after=0", "abc1-1")]
)
def test_a_header_that_differs_or_is_no_cursor_takes_nothing(gateway: PlayedGateway, target: str, header: str) -> None:
    with client_of(gateway) as client:
        answer = client.get(target, f"Last-Event-ID: {header}")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-parameter")
    assert gateway.calls == []


def test_a_wait_goes_with_several_at_once(gateway: PlayedGateway) -> None:
    with waiting_client(gateway, target="/t/u?wait=20&max=1000") as client:
        gateway.messages.append(ops.Batch("abc1", 3, [ops.Run(5, 1, 0, b"", b"\0\0\0\1x")]))
        gateway.soon(lambda: gateway.tell(True))
        answer = client.answer()
        assert (answer.status, answer.headers["msg-id"], answer.headers["msg-pending"]) == (200, "abc1-5", "3")
        assert answer.headers["preference-applied"] == "wait=20"
    assert gateway.asked == [Op.FETCH, Op.FETCH]


def test_a_head_says_how_it_stands_and_takes_nothing(gateway: PlayedGateway) -> None:
    gateway.messages.append(message(5))
    with client_of(gateway) as client:
        answer = client.send(get("/t/u").replace(b"GET", b"HEAD")).answer(to_head=True)
        assert answer.status == 200
        assert (answer.headers["msg-pending"], answer.headers["msg-id"]) == ("2", "abc1-7")
        assert answer.headers["cache-control"] == "no-store"
        assert client.send(get("/t/u?wait=20").replace(b"GET", b"HEAD")).answer(to_head=True).status == 400
    assert gateway.asked == [Op.LOOK]


# --- clients that go


@pytest.mark.parametrize("way", ["closed", "half closed"])
def test_for_a_client_that_has_gone_nothing_is_taken_and_the_wake_is_passed_on(
    gateway: PlayedGateway, way: str
) -> None:
    client = waiting_client(gateway)
    if way == "closed":
        client.close()
    else:
        client.sock.shutdown(socket.SHUT_WR)
    wait_for(lambda: some_are_gone(gateway))
    gateway.messages.append(message(5))
    gateway.soon(lambda: gateway.tell(True))
    wait_for(lambda: Op.SKIP in gateway.asked)
    if way == "half closed":
        assert client.answer().status == 503, "a client that still listens hears that nothing was taken"
        client.close()
    assert gateway.server is not None
    wait_for(lambda: not gateway.server.connections)
    assert gateway.asked == [Op.TAKE, Op.SKIP]
    assert len(gateway.messages) == 1
    with client_of(gateway) as other:
        assert other.get("/t/u").headers["msg-id"] == "abc1-5"


def test_a_client_that_has_gone_while_its_request_waited_behind_another_takes_nothing(gateway: PlayedGateway) -> None:
    client = client_of(gateway).send(get("/t/u?wait=20") + get("/t/v"))
    wait_for(lambda: gateway.waits)
    client.close()
    wait_for(lambda: some_are_gone(gateway))
    gateway.messages.append(message(5))
    gateway.soon(lambda: gateway.tell(False))
    assert gateway.server is not None
    wait_for(lambda: not gateway.server.connections)
    assert gateway.asked == [Op.TAKE]
    assert len(gateway.messages) == 1


def test_many_clients_that_vanish_give_their_places_back() -> None:
    with front(max_waiters=20) as gateway:
        for _ in range(3):
            clients = [waiting_client(gateway) for _ in range(20)]
            for client in clients:
                client.close()
            assert gateway.server is not None
            wait_for(
                lambda: all(each.check_client_disconnected() for each in list(gateway.server.connections.values()))
            )
            gateway.messages.append(message(5))
            gateway.soon(lambda: [gateway.tell(True) for _ in range(20)] and None)
            wait_for(lambda: not gateway.server.connections)
            assert gateway.messages.popleft().seq == 5
        assert gateway.asked.count(Op.SKIP) == 60


# --- the ceiling


def test_over_the_ceiling_the_answer_comes_at_once_and_says_so() -> None:
    with front(max_waiters=2) as gateway:
        first, second = waiting_client(gateway), waiting_client(gateway)
        with client_of(gateway) as third:
            answer = third.get("/t/u?wait=20")
            assert (answer.status, answer.headers["retry-after"]) == (204, "1")
            assert "preference-applied" not in answer.headers
            assert third.get("/t/u").headers.get("retry-after") is None, "who does not wait is not concerned"
            gateway.messages.append(message(5))
            answer = third.get("/t/u?wait=20")
            assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=20"), "it did not have to wait"
            assert len(gateway.waits) == 2
            gateway.soon(lambda: gateway.tell(FanmailError("broker-down", "gone")))
            assert first.answer().status == 503
            third.send(get("/t/u?wait=20"))
            wait_for(lambda: len(gateway.waits) == 3)
            gateway.soon(lambda: gateway.tell(False))
            gateway.soon(lambda: gateway.tell(False))
            for client in (second, third):
                answer = client.answer()
                assert (answer.status, answer.headers["preference-applied"]) == (204, "wait=20")
        first.close()
        second.close()


def test_one_user_takes_their_share_of_the_waiters_and_others_wait_too() -> None:
    with front(max_waiters=6, share=50) as gateway:
        clients = [waiting_client(gateway) for _ in range(3)]
        with client_of(gateway) as fourth:
            answer = fourth.get("/t/u?wait=20")
            assert (answer.status, answer.headers["retry-after"]) == (204, "1")
        for target in ("/t/v?wait=20", "/other/u?wait=20"):
            clients.append(waiting_client(gateway, target=target))
        for _ in clients:
            gateway.soon(lambda: gateway.tell(False))
        for client in clients:
            assert client.answer().headers["preference-applied"] == "wait=20"
            client.close()
        again = [waiting_client(gateway) for _ in range(3)]
        for _ in again:
            gateway.soon(lambda: gateway.tell(False))
        for client in again:
            assert client.answer().headers["preference-applied"] == "wait=20", "the share comes back"
            client.close()


def test_a_front_may_hold_no_waiters_at_all() -> None:
    with front(max_waiters=0) as gateway, client_of(gateway) as client:
        assert client.get("/t/u?wait=20").headers["retry-after"] == "1"
        assert gateway.waits == []


# --- a drain


def test_a_drain_answers_all_who_wait(gateway: PlayedGateway) -> None:
    clients = [waiting_client(gateway) for _ in range(10)]
    assert gateway.server is not None
    gateway.soon(gateway.end_waits)
    drain(gateway.server, 20, 1.0)
    for client in clients:
        answer = client.answer()
        assert (answer.status, answer.headers["preference-applied"]) == (204, "wait=20")
        assert "retry-after" not in answer.headers
        client.close()
    assert gateway.asked == [Op.TAKE] * 10


def test_who_comes_while_the_front_drains_does_not_wait(gateway: PlayedGateway) -> None:
    with client_of(gateway) as client:
        assert client.get("/t/u").status == 204
        gateway.soon(gateway.end_waits)
        wait_for(lambda: gateway.ended)
        assert client.get("/t/u?wait=20").status == 204
        assert gateway.waits == []
