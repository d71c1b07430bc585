"""Clients created before a fork: every process has connections, keys and loops of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fanmail import Admin, AsyncAdmin, AsyncClient, Client, Message
from tests.client.echo import HELD, Echo, said
from tests.e2e.cluster import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
FORK = multiprocessing.get_context("fork")


@contextmanager
def child(job: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """Yield what the job returns in a child process, which lives until the end of the context."""
    ours, theirs = FORK.Pipe()

    def run() -> None:
        ours.close()
        try:
            theirs.send(job(*arguments))
        except Exception as error:
            theirs.send(error)
        theirs.poll(60)

    process = FORK.Process(target=run)
    process.start()
    try:
        assert ours.poll(30), "the child hangs"
        yield ours.recv()
    finally:
        with suppress(BrokenPipeError):
            ours.send(None)
        process.join(10)
        process.kill()


def connections(client: Client, topic: str) -> set[int]:
    """Return the connections over which responses came, after checking that each response belongs to its request."""
    client.publish(topic, "")
    found = {said(client.receive(topic, "u", after="0")) for _ in range(3)}
    assert {name for name, _ in found} == {topic}
    return {connection for _, connection in found}


def test_every_process_has_connections_and_keys_of_its_own() -> None:
    def first() -> list[set[int]]:
        with child(connections, client, "grandchild") as theirs:
            mine = connections(client, "child")
        client.close()
        return [mine, theirs]

    with Echo() as echo, Client(echo.url) as client:
        before = connections(client, "parent")
        with child(first) as others, child(first) as more:
            assert connections(client, "parent") == before
        assert connections(client, "parent") == before, "the parent does not notice that its children end"
        each = [before, *others, *more]
        assert len(set.union(*each)) == sum(map(len, each)) == 5
        keys = [asked.key for asked in echo.asked if asked.method == "POST"]
        assert len(keys) == len(set(keys)) == 7


def test_asyncio_too() -> None:
    async def ask() -> int:
        _, connection = said(await client.receive("t", "u", after="0"))
        return connection

    def first() -> list[int]:
        async def main() -> list[int]:
            found = [await ask(), await ask()]
            await client.close()
            return found

        return asyncio.run(main())

    with Echo() as echo, asyncio.Runner() as runner:
        client = AsyncClient(echo.url)
        before = runner.run(ask())
        with child(first) as theirs, child(first) as more:
            pass
        assert runner.run(ask()) == before
        assert len({before, *theirs, *more}) == 3
        runner.run(client.close())


def test_a_child_does_not_keep_its_parents_connections_open() -> None:
    with Echo() as echo, Client(echo.url) as client:
        thread = threading.Thread(target=client.receive, args=(HELD, "u"))  # is in progress at the fork
        thread.start()
        assert wait_for(lambda: echo.asked)
        with child(connections, client, "t") as theirs:
            echo.release.set()
            thread.join(30)
            client.close()
            assert wait_for(lambda: echo.asked[0].connection in echo.ended)
            assert not theirs & {echo.asked[0].connection, *echo.ended}


def test_a_child_does_not_wait_for_locks_that_its_parents_threads_had() -> None:
    with Echo() as echo, Client(echo.url) as client:
        lock = client._connections.get()._transport._pool._optional_thread_lock._lock
        with lock, child(connections, client, "t") as theirs:
            assert len(theirs) == 1


def test_a_loop_confirms_nothing_in_a_child() -> None:
    def go_on() -> str:
        with pytest.raises(RuntimeError, match="belongs to the parent process"):
            next(messages)
        return said(next(client.messages("new", "u")))[0]

    with Echo() as echo, Client(echo.url) as client:
        messages = client.messages("t", "u")
        next(messages)
        with child(go_on) as found:
            assert found == "new"
        assert [asked.topic for asked in echo.asked] == ["t", "new"]
        assert said(next(messages))[0] == "t"


@pytest.mark.parametrize("leave", [None, KeyError("mine"), SystemExit(3)])
def test_a_child_of_a_handler_leaves_the_message_to_its_parent(leave: BaseException | None) -> None:
    def work(client: Client | AsyncClient) -> list[str]:
        """Fork in a handler within a child. Return what was raised in the grandchild."""
        ours, theirs = FORK.Pipe(duplex=False)
        here = multiprocessing.current_process().pid

        def handle(message: Message) -> None:
            if os.fork() == 0 and leave:
                raise leave

        async def handle_async(message: Message) -> None:
            handle(message)

        try:
            if isinstance(client, Client):
                client.work("t", "u", handle, limit=1)
            else:
                asyncio.run(client.work("t", "u", handle_async, limit=1))
        except BaseException as error:
            theirs.send(type(error).__name__)
        if os.getpid() != here:
            os._exit(0)
        return [ours.recv()] if ours.poll(30) else []

    for kind in (Client, AsyncClient):
        with Echo() as echo:
            with child(work, kind(echo.url)) as raised:
                assert raised == [type(leave).__name__ if leave else "RuntimeError"]
            assert [asked.method for asked in echo.asked] == ["GET", "DELETE"]


@pytest.mark.parametrize("kind", [Client, AsyncClient, Admin, AsyncAdmin])
def test_a_client_that_is_sent_to_another_process_says_why_not(kind: type[Client]) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} cannot be pickled.*make one in each process"):
        pickle.dumps(kind("http://127.0.0.1:1", "fm_key"))


def test_a_closed_client_is_closed_in_a_child_too() -> None:
    with Echo() as echo:
        client = Client(echo.url)
        client.close()
        with child(connections, client, "t") as error:
            assert isinstance(error, RuntimeError)
        with suppress(RuntimeError):
            client.publish("t", "")
        assert echo.asked == []
