"""A response belongs to its request, whatever happened to the previous one on the connection."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fanmail import ONCE, AsyncClient, Client, OutcomeUnknown
from tests.client.echo import HELD, Echo, said
from tests.e2e.cluster import wait_for

TOPICS = [f"t{number}" for number in range(5)]


def ask(client: Client, topic: str) -> str:
    return said(client.receive(topic, "u", after="0"))[0]


async def ask_async(client: AsyncClient, topic: str) -> str:
    return said(await client.receive(topic, "u", after="0"))[0]


def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one() -> None:
    async def ask_all() -> list[str]:
        async with AsyncClient(echo.url) as client:
            return [await ask_async(client, topic) for topic in TOPICS]

    with Echo(doubled=True) as echo, Client(echo.url) as client:
        assert [ask(client, topic) for topic in TOPICS] == TOPICS
        assert asyncio.run(ask_all()) == TOPICS


def test_a_take_behind_such_an_answer_is_told_as_unknown() -> None:
    with Echo(doubled=True) as echo, Client(echo.url) as client:
        ask(client, "t")
        with pytest.raises(OutcomeUnknown, match="another request"):
            client.receive("t", "u")


def test_an_id_that_a_proxy_gives_is_none_of_ours() -> None:
    with Echo() as echo, Client(echo.url, headers={"X-Request-Id": "theirs"}, retries=ONCE) as client:
        assert [ask(client, topic) for topic in TOPICS] == TOPICS


def test_a_request_that_was_given_up_leaves_nothing_to_the_next() -> None:
    with Echo() as echo, Client(echo.url, timeout=0.2, retries=ONCE) as client:
        with pytest.raises(OutcomeUnknown):
            ask(client, HELD)
        echo.release.set()
        assert [ask(client, topic) for topic in TOPICS] == TOPICS


def test_nor_does_one_that_was_interrupted() -> None:
    def interrupt() -> None:
        wait_for(lambda: echo.asked)
        os.kill(os.getpid(), signal.SIGINT)

    with Echo() as echo, Client(echo.url) as client:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            ask(client, HELD)
        thread.join()
        echo.release.set()
        assert [ask(client, topic) for topic in TOPICS] == TOPICS


def test_nor_does_one_whose_task_was_cancelled() -> None:
    async def main() -> None:
        async with AsyncClient(echo.url) as client:
            task = asyncio.create_task(ask_async(client, HELD))
            while not echo.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            echo.release.set()
            assert [await ask_async(client, topic) for topic in TOPICS] == TOPICS
            assert await asyncio.gather(*[ask_async(client, topic) for topic in TOPICS * 5]) == TOPICS * 5

    with Echo() as echo:
        asyncio.run(main())


def test_threads_get_their_own_answers() -> None:
    with Echo() as echo, Client(echo.url) as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda topic: ask(client, topic), TOPICS * 20)) == TOPICS * 20
