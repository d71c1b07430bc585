"""`stream` against real servers, which are killed: nothing is lost, and only what was not acknowledged is repeated."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from fanmail import AsyncClient, Client, Gap, LeasesOut, NoSubscription, Retries
from tests.client.conftest import urls_of
from tests.conftest import StartCluster
from tests.e2e.cluster import wait_for

QUICK = Retries(total=20.0, base=0.01, max_pause=0.1)


def next_id(client: Client, topic: str) -> str | None:
    return client.status(topic, "ann").next_id


def test_a_stream_brings_what_waits_and_what_comes(client: Client, topic: str, urls: list[str]) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "a", type="text/plain", headers={"Meta-Colour": "red"})
    stream = client.stream(topic, "ann")
    first = next(stream)
    assert (first.text, first.type, first.headers["meta-colour"], first.topic) == ("a", "text/plain", "red", topic)
    with Client(urls[1]) as other:
        other.publish(topic, b"\xff\n\r")
    assert next(stream).body == b"\xff\n\r"
    stream.close()


def test_what_was_handled_is_acknowledged_during_and_after_the_loop(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    ids = [client.publish(topic, str(n)).id for n in range(4)]
    stream = client.stream(topic, "ann")
    next(stream), next(stream)
    assert wait_for(lambda: next_id(client, topic) != ids[0])
    assert next_id(client, topic) == ids[1], "the message in hand is not handled"
    next(stream)
    stream.close()
    assert next_id(client, topic) == ids[2]
    assert not [each for each in threading.enumerate() if each.name == "fanmail-confirm"]


def test_a_stream_says_why_it_ends(client: Client, topic: str) -> None:
    with pytest.raises(NoSubscription, match="Subscribe again"):
        next(client.stream(topic, "ann"))
    client.subscribe(topic, "ann")
    client.publish(topic, "a")
    stream = client.stream(topic, "ann")
    next(stream)
    assert client.receive(topic, "ann", lease=30)
    with pytest.raises(LeasesOut):
        next(stream)


def test_a_gap_is_told(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    ids = [client.publish(topic, str(n)).id for n in range(3)]
    client.advance(topic, "ann", ids[1])
    told: list[Gap] = []
    assert next(client.stream(topic, "ann", after=ids[0], on_gap=told.append)).id == ids[2]
    assert told == [Gap(ids[1], ids[2])]


def test_a_stream_outlives_its_fronts_and_its_broker(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2, durable=True)
    sent = [str(n) for n in range(300)]
    with Client(urls_of(cluster), retries=QUICK) as client, Client(urls_of(cluster), retries=QUICK) as publisher:
        client.subscribe("t", "ann")
        seen: list[str] = []

        def read() -> None:
            for message in client.stream("t", "ann"):
                seen.append(message.text)
                if message.text == sent[-1]:
                    client.advance("t", "ann", message.id)
                    return

        thread = threading.Thread(target=read)
        thread.start()
        for each in sent:
            publisher.publish("t", each)
            if each in ("80", "160"):
                cluster.kill_front(cluster.fronts[each == "160"])
            if each == "240":
                cluster.kill_broker("b0")
        thread.join(60)
        assert list(dict.fromkeys(seen)) == sent
        assert client.status("t", "ann").pending == 0


def test_asyncio_streams_as_the_other(urls: list[str], client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    ids = [client.publish(topic, str(n)).id for n in range(3)]

    async def read() -> list[str]:
        async with AsyncClient(urls) as other:
            seen: list[str] = []
            async with aclosing(other.stream(topic, "ann")) as stream:
                async for message in stream:
                    seen.append(message.text)
                    if len(seen) == 3:
                        break
            return seen

    assert asyncio.run(read()) == ["0", "1", "2"]
    assert next_id(client, topic) == ids[2]
