"""The application looks at the head before a body is kept, and what connections hold for their clients is bounded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from common.config import FrontSettings
from common.errors import FanmailError, StartError
from httpfront.budget import Budget
from httpfront.server.server import FrontServer
from httpfront.settings import new_budget
from tests.http.rawhttp import Client, Echo, chunked, get, post, running, wait_for

LARGE = 1_000_000
LIMIT = 4 * LARGE


class Guarded(Echo):
    """Answers 401 at /no without looking at the body, and what reading it raises as the real one does."""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/no":
            self.served.append("/no")
            start("401 Unauthorized", [])
            return [b"a key is needed"]
        if environ["PATH_INFO"] == "/later":
            self.until(self.gate.is_set)
        try:
            return super().__call__(environ, start)
        except FanmailError as error:
            start(f"{error.spec.status} {error.spec.title}", [])
            return [error.code.encode()]


def head(target: str, length: int, *headers: str) -> bytes:
    """All of a POST but its body."""
    return post(target, b"", *headers).replace(b"Content-Length: 0", b"Content-Length: %d" % length)


def held(server: FrontServer) -> int:
    return server.budget.used


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
def test_a_stranger_is_answered_when_the_head_is_there(expect: list[str]) -> None:
    with running(Guarded(), max_body=LARGE) as server, Client(server.port) as client:
        answer = client.send(head("/no", LARGE, *expect)).answer()
        assert (answer.status, answer.body) == (401, b"a key is needed")
        if expect:
            assert answer.headers["connection"] == "close", "nobody knows whether the body comes"
            assert client.at_end()


@pytest.mark.parametrize("body", ["fixed", "chunked"])
def test_a_body_that_nobody_wants_is_passed_over_and_not_kept(body: str) -> None:
    app = Guarded()
    with running(app, max_body=LARGE) as server, Client(server.port) as client:
        whole = chunked("/no", b"x" * LARGE) if body == "chunked" else post("/no", b"x" * LARGE)
        client.send(whole[:200_000])
        assert client.answer().status == 401
        wait_for(lambda: held(server) == 0)
        client.send(whole[200_000:-1])
        assert client.send(whole[-1:] + get("/next")).answer().headers["x-path"] == "/next"


def test_a_client_that_sends_all_of_an_unwanted_body_and_wants_the_end_reads_the_answer() -> None:
    with running(Guarded(), max_body=8 * LARGE) as server, Client(server.port) as client:
        client.send(post("/no", b"x" * 8 * LARGE, "Connection: close"))
        assert client.answer().status == 401
        assert client.at_end()


def test_an_unwanted_body_that_does_not_come_is_not_waited_for_for_ever() -> None:
    with running(Guarded(), max_body=LARGE, request_timeout=0.3) as server, Client(server.port) as client:
        assert client.send(post("/no", b"x" * LARGE)[:-1]).answer().status == 401
        assert client.at_end()


def test_100_continue_comes_when_the_application_reads() -> None:
    app = Guarded()
    with running(app) as server, Client(server.port) as client:
        client.send(head("/later", 5, "Expect: 100-continue"))
        wait_for(lambda: app.parked)
        app.gate.set()
        assert client.answer().status == 100
        assert client.send(b"hello").answer().body == b"hello"


def test_bodies_are_counted_while_they_are_held_and_not_any_longer() -> None:
    app = Guarded()
    with running(app, budget=Budget(LIMIT), max_body=LARGE) as server, Client(server.port) as client:
        whole = post("/wait", b"x" * LARGE)
        client.send(whole[:-1])
        wait_for(lambda: LARGE * 0.9 < held(server) < LARGE)
        client.send(whole[-1:])
        wait_for(lambda: app.parked)
        assert held(server) == 2 * LARGE, "ours, and that on its way to the broker"
        app.gate.set()
        assert client.answer().body == b"x" * LARGE
        wait_for(lambda: held(server) == 0)


def test_the_upload_that_has_stopped_gives_way_and_is_told_so() -> None:
    app = Guarded()
    with running(app, budget=Budget(LIMIT), max_body=LARGE) as server:
        stopped = []
        for number in range(3):  # one after the other: the first is without progress for longest
            stopped.append(Client(server.port).send(post("/a", b"x" * LARGE)[:-1]))
            wait_for(lambda least=(number + 0.9) * LARGE: held(server) > least)
        with Client(server.port) as client:
            assert client.send(post("/b", b"x" * LARGE)).answer().status == 200
        told = stopped[0].answer()
        assert (told.status, told.body) == (503, b"front-busy")
        assert stopped[0].send(b"x" + get("/next")).answer().status == 200, "the connection continues"
        assert stopped[2].send(b"x").answer().status == 200
        for each in stopped:
            each.close()
        wait_for(lambda: held(server) == 0)
    assert server.budget.evicted >= 1


def test_a_body_for_which_there_is_no_room_is_refused_and_its_connection_goes_on() -> None:
    with running(Guarded(), budget=Budget(LARGE), max_body=LARGE) as server, Client(server.port) as client:
        answer = client.send(post("/a", b"x" * LARGE)).answer()
        assert (answer.status, answer.body) == (503, b"front-busy")
        assert client.get("/next").status == 200
        wait_for(lambda: held(server) == 0)


def test_answers_that_nobody_reads_give_way_to_new_ones_the_oldest_first() -> None:
    with running(Echo(), budget=Budget(30 * LARGE), write_timeout=60) as server:
        slow = [Client(server.port, tiny=True).send(get(f"/big?{9 * LARGE}")) for _ in range(5)]
        wait_for(lambda: server.budget.evicted == 2)
        assert held(server) <= 30 * LARGE
        with pytest.raises((EOFError, ConnectionError)):
            slow[0].answer()
        assert len(slow[4].answer().body) == 9 * LARGE
        for each in slow:
            each.close()
        wait_for(lambda: held(server) == 0)


def test_further_requests_for_which_there_is_no_room_are_left_to_be_sent_again() -> None:
    app = Echo()
    with running(app, budget=Budget(20)) as server, Client(server.port) as client:
        answer = client.send(get("/a") + get("/b")).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.at_end()
    assert app.served == ["/a"]


def test_a_front_that_could_not_take_one_request_does_not_start() -> None:
    assert new_budget(FrontSettings()).limit == 2**28
    with pytest.raises(StartError, match="--buffer-memory 33554431 must be at least 32MiB"):
        new_budget(FrontSettings(buffer_memory=2**25 - 1))


@pytest.mark.parametrize(
    "pieces",
    [
        [post("/a", b"b" * 100_000)],
        [post("/unread", b"b" * 100_000)],
        [b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"zz\r\n"],
    ],
    ids=["read", "not read", "broken off by a bad chunk"],
)
def test_a_body_goes_with_its_request_and_needs_no_garbage_collector(pieces: list[bytes]) -> None:
    """A cycle would keep bodies, beside all that is counted, until a collection."""
    streams: list[weakref.ref[Any]] = []

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        streams.append(weakref.ref(environ["wsgi.input"]))
        if environ["PATH_INFO"] != "/unread":
            environ["wsgi.input"].read()
        start("200 OK", [])
        return [b""]

    with running(app, max_body=LARGE) as server:
        gc.disable()
        try:
            with Client(server.port) as client:
                for piece in pieces:
                    client.send(piece)
                    wait_for(lambda: streams)
                client.answer()
            wait_for(lambda: not server.connections)
            wait_for(lambda: streams[0]() is None)
        finally:
            gc.enable()
