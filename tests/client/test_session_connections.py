"""Sessions over real connections to a scripted server: what is in flight, failures, threads, forks and event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing
from textwrap import dedent
from typing import Any

import pytest

from fanmail import (
    AsyncClient,
    Client,
    Denied,
    OutcomeUnknown,
    Refused,
    Retries,
    ServerFault,
    Session,
    TooLarge,
    Unavailable,
)
from tests.client.fake_sessions import FakeSessions, Members, message, ok, problem
from tests.client.test_fork import child
from tests.e2e.cluster import ROOT, clean_environ, wait_for

QUICK = Retries(total=20.0, base=0.01, max_pause=0.05)


def messages(*seqs: int, receipts: bool = False) -> Callable[[Any, Members], None]:
    """Return an answer to `read` with these messages."""

    def answer(connection: Any, op: Members) -> None:
        ok(connection, op, position="e-0")
        for seq in seqs:
            message(connection, op, seq, f"e-{seq}.1" if receipts else "")

    return answer


def fail(session: Session) -> None:
    with session:
        session.publish_soon("t", "x")
        raise KeyError


def nothing(connection: Any, op: Members) -> None:
    pass


def test_a_publish_waits_for_its_answer_and_has_the_key_and_the_protocol() -> None:
    with FakeSessions() as server, Client(server.url, "fm_secret", headers={"Meta-A": "b"}) as client:
        with client.session() as session:
            assert not server.requests, "it connects when it is used"
            assert session.publish("t", "hello").id == "e-1"
            assert session.subscribe("t", "u") is True
        (request,) = server.requests
        told = {name: request.headers[name] for name in ("Authorization", "Sec-WebSocket-Protocol", "Meta-A")}
        assert told == {"Authorization": "Bearer fm_secret", "Sec-WebSocket-Protocol": "fanmail.v1.json", "Meta-A": "b"}
        assert request.path == "/"
        assert "Sec-WebSocket-Extensions" not in request.headers
        assert "secret" not in repr(session)


def test_no_more_is_in_flight_than_allowed() -> None:
    free = threading.Event()

    def answer(connection: Any, op: Members) -> None:
        assert free.wait(30)
        ok(connection, op, subscribers=1)

    with FakeSessions(publish=answer) as server, Client(server.url) as client, client.session(in_flight=3) as session:
        answers = [session.publish_soon("t", str(n)) for n in range(3)]
        more = threading.Thread(target=lambda: [session.publish_soon("t", str(n)) for n in range(3, 9)])
        more.start()
        server.await_ops("publish", 1)
        more.join(0.05)
        assert more.is_alive()
        assert not any(each.done() for each in answers)
        free.set()
        more.join(30)
        session.flush()
        assert [each["text"] for each in server.ops("publish")] == [str(n) for n in range(9)]


def test_a_cut_repeats_publishes_at_the_next_server_under_the_same_keys() -> None:
    with FakeSessions(publish=nothing) as first, FakeSessions() as second:
        client = Client([first.url, second.url], retries=QUICK)
        with client, client.session() as session:
            answers = [session.publish_soon("t", str(n)) for n in range(10)]
            before = first.await_ops("publish", 10)
            first.drop()
            assert [each.result().id for each in answers] == [f"e-{n}" for n in range(1, 11)]
            for name in ("key", "text"):
                assert [each[name] for each in second.ops("publish")] == [each[name] for each in before]


def test_a_read_goes_on_after_a_cut_without_repeats() -> None:
    with FakeSessions(read=messages(1, 2, 3)) as server:
        client = Client(server.url, retries=QUICK)
        with client, client.session() as session:
            loop = session.read("t", "u")
            assert next(loop).id == "e-1"
            server.answers["read"] = messages(2, 3, 4)
            server.drop()
            assert [next(loop).id for _ in range(3)] == ["e-2", "e-3", "e-4"]
            server.await_ops("read", 2)
            loop.close()
            assert server.ops("ack")[-1]["id"] == "e-3"
            assert server.ops()[-1]["op"] == "stop"


def test_many_mailboxes_share_one_connection() -> None:
    with FakeSessions(read=messages(1, 2)) as server, Client(server.url) as client, client.session() as session:
        loops = {user: session.read("t", user) for user in ("ann", "bob", "cat")}
        assert {next(loop).user for loop in loops.values()} == set(loops)
        assert [next(loop).id for loop in loops.values()] == ["e-2"] * 3
        for loop in loops.values():
            loop.close()
        assert len(server.connections) == 1


def test_a_loop_ends_after_a_silence_or_when_the_session_is_closed() -> None:
    with FakeSessions(read=messages(1)) as server, Client(server.url) as client:
        with client.session() as session:
            assert [each.id for each in session.read("t", "u", wait=0.2)] == ["e-1"]
        session = client.session()
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.extend(each.id for each in session.read("t", "u")))
        thread.start()
        server.await_ops("ack", 2)
        session.close()
        thread.join(30)
        assert seen == ["e-1"]
        with pytest.raises(RuntimeError, match="closed"):
            session.publish("t", "x")
        assert list(session.read("t", "u")) == []


def test_leases_are_acknowledged_given_back_and_extended() -> None:
    with FakeSessions(read=messages(1, 2, 3, receipts=True)) as server, Client(server.url) as client:
        with client.session() as session:
            loop = session.read("t", "u", mode="lease", lease=5)
            first, second = next(loop), next(loop)
            session.acknowledge_soon(first)
            session.give_back(second, delay=3)
            session.extend(second, 9)
            loop.close()
        got = [(each["op"], each["receipt"]) for each in server.ops() if "receipt" in each]
        assert got == [("ack", "e-1.1"), ("nack", "e-2.1"), ("extend", "e-2.1"), ("nack", "e-3.1")]


def test_errors_are_told_to_whoever_looks_and_else_at_the_end() -> None:
    def answer(connection: Any, op: Members) -> None:
        problem(connection, op, 429, "topic-full", retry_after=7)

    with FakeSessions(publish=answer) as server, Client(server.url) as client:
        with client.session() as session:
            with pytest.raises(Refused) as raised:
                session.publish("t", "x")
            assert raised.value.retry_after == 7
            assert isinstance(session.publish_soon("t", "x").exception(), Refused)
        session = client.session()
        session.publish_soon("t", "x")
        with pytest.raises(Refused):
            session.flush()
        session.publish_soon("t", "x")
        with pytest.raises(Refused):
            session.close()
        with pytest.raises(KeyError):
            fail(client.session())


@pytest.mark.parametrize(("status", "code", "error"), [(401, "unauthorized", Denied), (403, "foreign-origin", Denied)])
def test_a_handshake_that_is_refused_for_good_is_raised(status: int, code: str, error: type[Exception]) -> None:
    with FakeSessions() as server, Client(server.url) as client, client.session() as session:
        server.refusals = [(status, code)]
        with pytest.raises(error, match=code):
            session.publish("t", "x")
        assert session.publish("t", "x").subscribers == 1, "it is tried again with the next one"


def test_a_redirect_is_not_followed_as_it_could_lead_anywhere() -> None:
    with FakeSessions() as server, FakeSessions() as other, Client(server.url, "fm_secret") as client:
        server.refusals, server.location = [(307, "")], other.url.replace("http", "ws") + "/"
        with client.session() as session, pytest.raises(ServerFault, match="307"):
            session.publish("t", "x")
        assert not other.requests


def test_a_handshake_that_is_refused_for_now_is_repeated() -> None:
    with FakeSessions() as server, Client(server.url, retries=QUICK) as client, client.session() as session:
        server.refusals = [(503, "front-busy"), (502, ""), (504, "")]
        assert session.publish("t", "x").id == "e-1"
        assert len(server.requests) == 4


def test_without_a_server_the_retries_end() -> None:
    retries = Retries(total=0.1, base=0.01)
    with Client("http://127.0.0.1:1", retries=retries) as client, client.session() as session:
        with pytest.raises(Unavailable):
            session.publish("t", "x")
        with pytest.raises(Unavailable):
            list(session.read("t", "u"))


def test_a_server_without_sessions_is_named() -> None:
    with FakeSessions() as server, Client(server.url) as client, client.session() as session:
        server.refusals = [(406, "not-acceptable")]
        with pytest.raises(Exception, match="not-acceptable"):
            session.publish("t", "x")


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1008, "unauthorized: the key is gone", OutcomeUnknown),
        (1009, "too-big: 2 MiB", TooLarge),
        (1002, "", Exception),
    ],
)
def test_a_close_for_good_is_raised(code: int, reason: str, error: type[Exception]) -> None:
    with FakeSessions(publish=lambda connection, _: connection.close(code, reason)) as server:
        client = Client(server.url, retries=QUICK)
        with client, client.session() as session, pytest.raises(error, match=reason.partition(": ")[2] or "1002"):
            session.publish("t", "x")


def test_a_read_whose_key_is_gone_is_denied() -> None:
    with FakeSessions(read=lambda connection, _: connection.close(1008, "unauthorized: the key is gone")) as server:
        client = Client(server.url, retries=QUICK)
        with client, client.session() as session, pytest.raises(Denied, match="401 unauthorized: the key is gone"):
            next(session.read("t", "u"))


def test_a_server_that_drains_is_left_and_the_publish_is_repeated() -> None:
    with FakeSessions(publish=lambda connection, _: connection.close(1001, "draining: bye")) as first:
        client = Client([first.url, "http://127.0.0.1:1"], retries=QUICK)
        with client, client.session() as session:
            answer = session.publish_soon("t", "x")
            wait_for(lambda: len(first.connections) > 1, "another connection")
            first.answers = {}
            assert answer.result().id == "e-1"


def test_a_connection_without_answers_is_given_up() -> None:
    with FakeSessions(publish=nothing) as server:
        client = Client(server.url, retries=QUICK, timeout=0.2)
        with client, client.session() as session:
            answer = session.publish_soon("t", "x")
            server.await_ops("publish", 1)
            server.answers = {}
            assert answer.result().id == "e-1"
            assert len(server.connections) == 2


def test_a_child_process_makes_a_session_of_its_own() -> None:
    def first(session: Session) -> list[Any]:
        with client.session() as mine:
            found: list[Any] = [mine.publish("t", "child").id]
        session.__exit__(None)
        for call in (lambda: session.publish("t", "x"), lambda: next(loop), session.flush):
            try:
                call()
            except RuntimeError as error:
                found.append(str(error).partition(":")[0])
        return found

    with FakeSessions(read=messages(1, 2)) as server, Client(server.url) as client, client.session() as session:
        loop = session.read("t", "u")
        next(loop)
        with child(first, session) as found:
            assert found == ["e-1", *["this session belongs to the parent process"] * 3]
        assert session.publish("t", "parent").id == "e-2", "the parent does not notice"
        assert next(loop).id == "e-2"
        loop.close()
        assert len(server.connections) == 2


def test_asyncio_has_the_same() -> None:
    async def run(url: str) -> list[Any]:
        async with AsyncClient(url, retries=QUICK) as client, client.session(in_flight=5) as session:
            answers = [await session.publish_soon("t", str(n)) for n in range(20)]
            await session.flush()
            found: list[Any] = [(await answers[-1]).id, await session.subscribe("t", "u")]
            async with aclosing(session.read("t", "u")) as loop:
                async for each in loop:
                    found.append(each.id)
                    if each.id == "e-1":
                        await asyncio.to_thread(server.drop)
                    if len(found) == 5:
                        break
            found += [each.id async for each in session.read("t", "u", wait=0.2)]
            return found

    with FakeSessions(read=messages(1, 2, 3)) as server:
        assert asyncio.run(run(server.url)) == ["e-20", True, "e-1", "e-2", "e-3", "e-1", "e-2", "e-3"]


def test_asyncio_tells_errors_and_ends_when_it_is_cancelled() -> None:
    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            session = client.session()
            with pytest.raises(Refused):
                await session.publish("t", "x")
            await session.publish_soon("t", "x")
            with pytest.raises(Refused):
                await session.close()
            other = client.session()
            hanging = await other.publish_soon("hanging", "x")
            await other.__aexit__(KeyError)
            with pytest.raises(Unavailable):
                await hanging
            with pytest.raises(RuntimeError, match="closed"):
                await other.publish("t", "x")

    def answer(connection: Any, op: Members) -> None:
        if op["topic"] == "t":
            problem(connection, op, 429, "topic-full")

    with FakeSessions(publish=answer) as server:
        asyncio.run(run(server.url))


def test_what_is_under_way_when_a_session_ends_by_an_error_is_unknown() -> None:
    with FakeSessions(publish=nothing) as server, Client(server.url) as client:
        session = client.session()
        answer = session.publish_soon("t", "x")
        server.await_ops("publish", 1)
        session.__exit__(KeyError)
        assert isinstance(answer.exception(), OutcomeUnknown)
        assert not session._thread.is_alive()


def test_without_the_package_the_error_says_what_to_install() -> None:
    script = """
        import sys
        sys.modules["websockets"] = None
        import fanmail
        try:
            fanmail.Client("http://127.0.0.1:1").session()
        except ImportError as error:
            print(error)
    """
    environ = clean_environ() | {"PYTHONPATH": str(ROOT / "client" / "src")}
    argv = [sys.executable, "-c", dedent(script)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "sessions need the package websockets: pip install 'fanmail[session]'\n"
