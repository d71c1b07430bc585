"""A forwarder that is killed again and again loses nothing, and with `--ordered` no order."""

from __future__ import annotations

import asyncio
import multiprocessing

import pytest

from fanmail import AsyncClient, Client
from fanmail.forward.process import Forwarding
from fanmail.forward.target import make_target
from tests.client.forward.receiver import Receiver, task
from tests.e2e.cluster import wait_for

pytestmark = pytest.mark.slow

COUNT, KILLS = 60, 5
FORK = multiprocessing.get_context("fork")
"""The packages are imported already: it starts at once."""


@pytest.mark.parametrize("option", [{"concurrency": 4}, {"ordered": True}], ids=["at once", "ordered"])
def test_kills_lose_nothing(client: Client, urls: list[str], topic: str, option: dict[str, object]) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, [task(n, "204") if n % 5 else task(n, "500", "204") for n in range(COUNT)])
    quick = {"lease": 1.0, "delay": 0.01, "max_delay": 0.05}

    def forward() -> None:
        target = make_target({"topic": topic, "user": "crew", "url": receiver.url, **quick, **option})
        asyncio.run(Forwarding([target], lambda _, retries: AsyncClient(urls, retries=retries)).run())

    with Receiver() as receiver:
        for kill in range(1, KILLS + 2):
            process = FORK.Process(target=forward, daemon=True)
            process.start()
            enough = kill * COUNT // (2 * KILLS)
            if kill <= KILLS:
                wait_for(lambda: len(receiver.received) >= enough, f"request {enough}")  # noqa: B023 - called at once
            else:
                wait_for(lambda: set(receiver.accepted()) == set(range(COUNT)), "all messages")
                wait_for(lambda: client.status(topic, "crew").leased == 0, "acknowledgements")
            process.kill()
            process.join()
        accepted = receiver.accepted()
    if "ordered" in option:
        first = sorted(set(accepted), key=accepted.index)
        assert first == sorted(first)
    assert len(accepted) <= COUNT + 4 * KILLS, "only what was under way is repeated"
