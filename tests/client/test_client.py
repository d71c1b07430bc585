"""The client with a running cluster: every call, both loops, sync and asyncio."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from fanmail import (
    Admin,
    AsyncClient,
    BadRequest,
    Client,
    CursorLost,
    KeyReused,
    LeaseLost,
    LeasesOut,
    Message,
    NoSubscription,
    TooLarge,
    Worked,
)
from tests.e2e.cluster import wait_for


def test_a_message_comes_as_it_went(client: Client, topic: str) -> None:
    assert client.subscribe(topic, "ann") is True
    assert client.subscribe(topic, "ann") is False
    body = gzip.compress(b"packed")
    headers = {"Meta-A": "ä", "Content-Encoding": "gzip", "Content-Language": "de", "traceparent": "00-1-2-03"}
    stored = client.publish(topic, body, type="text/plain", headers=headers)
    found = client.receive(topic, "ann")
    assert found is not None
    assert (stored.subscribers, stored.id, stored.count, stored.replayed) == (1, found.id, 1, False)
    assert (found.body, found.type) == (body, "text/plain")  # the body is not decoded in transit
    assert found.headers == {name.lower(): value for name, value in headers.items()}
    assert (found.topic, found.user, found.attempt, found.pending, found.seq) == (topic, "ann", 1, 0, 1)
    assert found.time is not None
    assert abs(found.time.timestamp() - time.time()) < 60
    assert client.receive(topic, "ann") is None


@pytest.mark.parametrize("value", ["ä", "日本 語", "voilà", "Å", "\N{NO-BREAK SPACE}a\N{NO-BREAK SPACE}", "🎈"])
def test_a_header_is_any_text(client: Client, topic: str, value: str) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "x", headers={"Meta-A": value})
    for found in (client.receive(topic, "ann", after="0"), client.fetch_frames(topic, "ann", after="0")):
        assert found is not None
        assert found.headers == {"meta-a": value}


def test_a_header_that_is_no_utf_8_is_read_as_latin_1(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "x", headers={"Meta-A": b"caf\xe9".decode("utf-8", "surrogateescape")})
    found = client.receive(topic, "ann")
    assert found is not None
    assert found.headers == {"meta-a": "café"}


@pytest.mark.parametrize("stem", ["a/b", "a b", "%2F", "ü", "a?b=c", "a#b", "..a", "+", "a//b/../c", "*"])
def test_any_name_goes_through(client: Client, topic: str, stem: str) -> None:
    name = topic + stem
    client.subscribe(name, stem)
    client.publish(name, stem)
    found = client.receive(name, stem)
    assert found is not None
    assert found.text == stem


def test_a_batch_comes_in_every_way(client: Client, topic: str) -> None:
    bodies = [b"", b"\xff", "ü".encode(), b"x" * 1000]
    client.subscribe(topic, "ann")
    stored = client.publish_many(topic, bodies, headers={"ce-id": "7"})
    assert (stored.count, stored.subscribers) == (4, 1)
    fetched = client.fetch(topic, "ann", 3, after="0")
    assert [each.body for each in fetched] == bodies[:3]
    assert (fetched.messages[0].headers, fetched.messages[0].pending, fetched.more) == ({"ce-id": "7"}, 3, 1)
    frames = client.fetch_frames(topic, "ann", after="0")
    assert frames is not None
    assert (list(frames.bodies), str(frames.first)) == (bodies, stored.id)
    client.advance(topic, "ann", frames.last)
    assert client.fetch_frames(topic, "ann") is None
    assert len(client.fetch(topic, "ann")) == 0


def test_methods_tell_what_they_take(client: Client) -> None:
    assert list(inspect.signature(client.advance).parameters) == ["topic", "user", "after"]
    assert (client.advance.__doc__ or "").startswith("Acknowledge everything")
    assert (Client.advance.__doc__ or "").startswith("Acknowledge everything")


def test_settings_and_standing(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann", expires_after=3600.5, max_deliveries=2)
    client.configure(topic, "ann", max_deliveries=0)
    stored = client.publish(topic, "x")
    status = client.status(topic, "ann")
    assert (status.pending, status.leased, status.dead, status.next_id) == (1, 0, 0, stored.id)
    client.unsubscribe(topic, "ann")
    for call in (client.unsubscribe, client.stand, client.receive, client.dead):
        with pytest.raises(NoSubscription):
            call(topic, "ann")


def test_later_for_a_while_and_only_once(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    delayed = client.publish(topic, "later", delay=3600, ttl=1.5)
    assert (delayed.id, delayed.subscribers) == (None, 0)
    assert delayed.due is not None
    assert delayed.due.timestamp() > time.time() + 3000
    stored, again = (client.publish(topic, "once", key="mine") for _ in range(2))
    assert (again.id, again.replayed) == (stored.id, True)
    with pytest.raises(KeyReused):
        client.publish(topic, "other", key="mine")
    assert client.status(topic, "ann").pending == 1


def test_errors_come_as_types(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    with pytest.raises(CursorLost):
        client.receive(topic, "ann", after="ffff-9")
    with pytest.raises(BadRequest) as caught:
        client.receive(topic, "ann", lease=0.5)
    assert (caught.value.code, caught.value.fields["parameter"]) == ("bad-parameter", "lease")
    with pytest.raises(TooLarge):
        client.publish(topic, b"x" * 2_000_000)
    client.publish(topic, "x")
    lent = client.receive(topic, "ann", lease=30)
    assert lent is not None
    with pytest.raises(LeasesOut):
        client.receive(topic, "ann", after="0")
    client.give_back(lent)
    assert client.receive(topic, "ann", lease=30) is not None
    with pytest.raises(LeaseLost):
        client.acknowledge(lent)


def test_many_are_acknowledged_together(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["a", "b"])
    lent = list(client.fetch(topic, "ann", lease=30))
    assert [each.done for each in client.acknowledge_many(lent)] == [True, True]
    assert client.status(topic, "ann").leased == 0


def test_dead_letters(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann", max_deliveries=1)
    client.publish_many(topic, ["a", "b", "c"])
    for message in client.fetch(topic, "ann", lease=30):
        client.give_back(message)
    page = client.dead(topic, "ann", 2)
    assert ([each.text for each in page], page.left) == (["a", "b"], 1)
    rest = client.dead(topic, "ann", 2, after=page.next_after)
    assert ([each.text for each in rest], rest.next_after) == (["c"], None)
    assert client.put_back_dead(topic, "ann") == 3
    assert client.status(topic, "ann").dead == 0
    assert client.drop_dead(topic, "ann") == 0


def test_a_loop_that_is_left_gets_the_same_message_again(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, [str(n) for n in range(10)])
    for message in client.messages(topic, "ann"):
        if message.text == "3":
            break
    assert next(each.text for each in client.messages(topic, "ann", until_empty=True)) == "3"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_loop_goes_on_from_where_its_caller_was(client: Client, topic: str, batch: int) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, [str(n) for n in range(10)])
    kept = next(each.id for each in client.messages(topic, "ann", batch=batch) if each.text == "5")
    rest = client.messages(topic, "ann", after=kept, batch=batch, until_empty=True)
    assert [each.text for each in rest] == ["6", "7", "8", "9"]


def test_a_loop_waits_for_what_comes(client: Client, topic: str, urls: list[str]) -> None:
    client.subscribe(topic, "ann")
    messages = client.messages(topic, "ann")
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend([next(messages).text, next(messages).text]))
    thread.start()
    with Client(urls[1]) as other:
        other.publish(topic, "a")
        other.publish(topic, "b")
    thread.join(30)
    assert seen == ["a", "b"]


def test_a_loop_says_when_the_subscription_goes(client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "a")
    messages = client.messages(topic, "ann")
    assert next(messages).text == "a"
    client.unsubscribe(topic, "ann")
    with pytest.raises(NoSubscription, match="Subscribe again"):
        next(messages)


def test_a_worker_keeps_its_lease_while_it_works(client: Client, topic: str) -> None:
    client.subscribe(topic, "crew")
    client.publish(topic, "slow")
    others: list[Message | None] = []

    def handle(message: Message) -> None:
        ends = time.monotonic() + 2.6
        while time.monotonic() < ends:  # beyond the lease
            others.append(client.receive(topic, "crew", lease=30, wait=0.2))

    assert client.work(topic, "crew", handle, lease=2, until_empty=True) == Worked(done=1)
    assert set(others) == {None}
    assert client.status(topic, "crew").leased == 0


def test_a_failed_message_goes_out_again(client: Client, topic: str) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, ["good", "bad"])
    seen: list[tuple[str, int]] = []

    def handle(message: Message) -> None:
        seen.append((message.text, message.attempt))
        if message.text == "bad" and message.attempt == 1:
            raise RuntimeError("not yet")

    assert client.work(topic, "crew", handle, limit=3, delay=0) == Worked(done=2, failed=1)
    assert seen == [("good", 1), ("bad", 1), ("bad", 2)]


def test_a_message_that_always_fails_lets_the_others_pass(client: Client, urls: list[str], topic: str) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, ["bad", "good"])
    seen: list[str] = []

    def handle(message: Message) -> None:
        seen.append(message.text)
        if message.text == "bad":
            raise RuntimeError("never")

    async def test(other: AsyncClient) -> None:
        async def handle_async(message: Message) -> None:
            handle(message)

        await other.work(topic, "crew", handle_async, limit=2)

    client.work(topic, "crew", handle, limit=2)
    assert seen == ["bad", "good"]
    client.publish(topic, "good")
    running(urls, test)
    assert sorted(seen[2:]) == ["bad", "good"]  # their order is not determined


def test_an_interrupted_worker_gives_its_message_back(client: Client, topic: str) -> None:
    client.subscribe(topic, "crew")
    client.publish(topic, "x")

    def handle(message: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.work(topic, "crew", handle)
    again = client.receive(topic, "crew", lease=30)
    assert again is not None
    assert again.attempt == 2


@pytest.mark.parametrize(
    "url", ["ftp://host", "host:8100", "http://", "http://host:port", "http://host/?a=b", "", "http://[::1"]
)
def test_what_is_no_base_url_is_told_at_once(url: str) -> None:
    for kind in (Client, Admin, AsyncClient):
        with pytest.raises(ValueError, match="base URL"):
            kind(url or [])


def running(urls: list[str], test: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncClient(urls) as client:
            await test(client)

    asyncio.run(main())


def test_asyncio_reads_as_the_other(urls: list[str], topic: str) -> None:
    async def test(client: AsyncClient) -> None:
        assert await client.subscribe(topic, "ann")
        await asyncio.gather(*[client.publish(topic, str(n)) for n in range(20)])
        await client.publish_many(topic, ["x", "y"])
        seen = [each.text async for each in client.messages(topic, "ann", batch=5, until_empty=True)]
        assert sorted(seen[:20], key=int) == [str(n) for n in range(20)]
        assert seen[20:] == ["x", "y"]
        assert (await client.status(topic, "ann")).pending == 0
        with pytest.raises(NoSubscription):
            await client.status(topic, "nobody")

    running(urls, test)


def test_asyncio_works_as_the_other(urls: list[str], topic: str) -> None:
    async def test(client: AsyncClient) -> None:
        await client.subscribe(topic, "crew")
        await client.publish_many(topic, ["slow", "bad"])

        async def handle(message: Message) -> None:
            if message.text == "bad" and message.attempt == 1:
                raise RuntimeError("not yet")
            if message.text == "slow":
                assert await client.receive(topic, "other", lease=30) is None
                await asyncio.sleep(2.6)  # beyond the lease

        await client.subscribe(topic, "other")
        assert await client.work(topic, "crew", handle, lease=2, delay=0, until_empty=True) == Worked(done=2, failed=1)

    running(urls, test)


def test_a_cancelled_task_gives_its_message_back(urls: list[str], topic: str) -> None:
    async def test(client: AsyncClient) -> None:
        await client.subscribe(topic, "crew")
        await client.publish(topic, "x")
        began = asyncio.Event()

        async def handle(message: Message) -> None:
            began.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(client.work(topic, "crew", handle))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await client.receive(topic, "crew", lease=30)
        assert again is not None
        assert again.attempt == 2

    running(urls, test)


def test_a_message_is_taken_by_nobody_when_a_loop_is_cancelled(urls: list[str], topic: str, client: Client) -> None:
    async def test(other: AsyncClient) -> None:
        async def read() -> None:
            async for _ in other.messages(topic, "ann"):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    client.subscribe(topic, "ann")
    running(urls, test)
    client.publish(topic, "x")
    assert wait_for(lambda: client.receive(topic, "ann")).text == "x"
