"""One asyncio client in several event loops: each has connections of its own."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fanmail import AsyncClient
from tests.client.echo import Echo, said
from tests.e2e.cluster import wait_for


async def connection(client: AsyncClient) -> int:
    """Return the connection over which a response came."""
    return said(await client.receive("t", "u", after="0"))[1]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_client_goes_on_in_the_next_event_loop() -> None:
    with Echo() as echo:
        client = AsyncClient(echo.url)
        first = asyncio.run(connection(client))
        with asyncio.Runner() as runner:
            second = runner.run(connection(client))
            assert runner.run(connection(client)) == second != first
            gc.collect()
            assert wait_for(lambda: first in echo.ended), "connections of an event loop that has ended are closed"
            runner.run(client.close())
        assert wait_for(lambda: second in echo.ended)
        with pytest.raises(RuntimeError, match="the client is closed"):
            asyncio.run(connection(client))


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_event_loops_of_several_threads_share_a_client() -> None:
    both_have_asked = threading.Barrier(2, timeout=30)

    async def twice() -> list[int]:
        first = await connection(client)
        await asyncio.to_thread(both_have_asked.wait)
        return [first, await connection(client)]

    with Echo() as echo, ThreadPoolExecutor(2) as threads:
        client = AsyncClient(echo.url)
        one, other = [each.result(30) for each in [threads.submit(asyncio.run, twice()) for _ in range(2)]]
    assert one[0] == one[1] != other[0] == other[1]
