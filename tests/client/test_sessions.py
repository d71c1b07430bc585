"""Sessions against real servers: every operation, ends of fronts, and `fanmail bench --ws`."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fanmail import Admin, AsyncClient, Client, LeaseLost, NoSubscription, Refused, Retries, Session, TooLarge
from tests.client.commands import Run, lines
from tests.client.conftest import urls_of
from tests.conftest import StartCluster
from tests.e2e.cluster import wait_for

QUICK = Retries(total=20.0, base=0.01, max_pause=0.1)
MIB = 1024 * 1024


def test_a_message_arrives_as_it_was_published(client: Client, topic: str) -> None:
    with client.session() as session:
        assert [session.subscribe(topic, "ann") for _ in range(2)] == [True, False]
        headers = {"Meta-Colour": "grün", "Content-Language": "de"}
        sent = session.publish(topic, b"\xff\n\0", type="image/png", headers=headers)
        session.publish(topic, "ä\u2028", ttl=60)
        assert session.publish(topic, "later", delay=60).due
        assert session.publish(topic, "once", key="k-7").replayed is False
        again = session.publish(topic, "once", key="k-7")
        first, second, third = session.read(topic, "ann", wait=0.3)
        assert (first.id, first.body, first.type) == (sent.id, b"\xff\n\0", "image/png")
        assert first.headers == {"meta-colour": "grün", "content-language": "de"}
        assert (first.topic, first.user, second.text, third.text) == (topic, "ann", "ä\u2028", "once")
        assert (again.replayed, again.id) == (True, third.id)
        assert client.status(topic, "ann").pending == 0
        session.unsubscribe(topic, "ann")
        with pytest.raises(NoSubscription, match="Subscribe again"):
            next(session.read(topic, "ann"))


def test_many_publishes_in_flight_keep_their_order(client: Client, topic: str) -> None:
    with client.session(in_flight=50) as session:
        session.subscribe(topic, "ann")
        sizes = [70_000 if n % 40 == 0 else 10 for n in range(400)]
        answers = [session.publish_soon(topic, f"{n} ".ljust(size, "x")) for n, size in enumerate(sizes)]
        session.flush()
        seqs = [int((answer.result().id or "").rpartition("-")[2]) for answer in answers]
        assert seqs == list(range(seqs[0], seqs[0] + 400))
        read = [int(message.text.split()[0]) for message in session.read(topic, "ann", wait=0.3)]
        assert read == list(range(400))


def test_one_session_reads_many_mailboxes_in_threads(client: Client, topic: str) -> None:
    seen: dict[str, list[str]] = {f"user-{n}": [] for n in range(8)}

    def read(session: Session, user: str) -> None:
        for message in session.read(topic, user, window=3):
            seen[user].append(message.text)
            if message.text == "29":
                session.acknowledge(message)
                return

    with client.session() as session:
        for user in seen:
            session.subscribe(topic, user)
        threads = [threading.Thread(target=read, args=(session, user)) for user in seen]
        for thread in threads:
            thread.start()
        for n in range(30):
            session.publish_soon(topic, str(n))
        for thread in threads:
            thread.join(60)
        assert all(each == [str(n) for n in range(30)] for each in seen.values())
        assert {client.status(topic, user).pending for user in seen} == {0}


def test_leases_are_shared_by_sessions_and_given_back_when_one_is_cut(client: Client, topic: str) -> None:
    with client.session() as other:
        mine = client.session()
        mine.subscribe(topic, "crew", max_deliveries=9)
        for n in range(4):
            mine.publish(topic, str(n))
        jobs = mine.read(topic, "crew", mode="lease", lease=600, window=2)
        done, held = next(jobs), next(jobs)
        mine.acknowledge(done)
        rest = other.read(topic, "crew", mode="lease", lease=600)
        mine.__exit__(KeyError)  # its connection ends without a word
        found = sorted((job.text, job.attempt) for _, job in zip(range(3), rest, strict=False))
        assert [text for text, _ in found] == ["1", "2", "3"]
        assert found[0] == ("1", 2), "it was given back at once, and not after 600 s"
        with pytest.raises(LeaseLost):
            other.acknowledge(held)
        assert client.status(topic, "crew").leased == 3
    assert wait_for(lambda: client.status(topic, "crew").leased == 0, "what was leased returns at the end")


def test_take_delivers_at_most_once(client: Client, topic: str) -> None:
    with client.session() as session:
        session.subscribe(topic, "ann")
        session.publish(topic, "gone")
        taken = session.read(topic, "ann", mode="take")
        assert next(taken).text == "gone"
        assert client.status(topic, "ann").pending == 0
        taken.close()


def test_a_loop_that_takes_slowly_leaves_the_rest_to_the_server(client: Client, topic: str) -> None:
    with client.session() as session:
        session.subscribe(topic, "ann")
        client.publish_many(topic, [f"{n} ".ljust(1000, "x") for n in range(3000)])
        taken = session.read(topic, "ann", mode="take", window=10, wait=1)
        seen = [int(next(taken).text.split()[0])]
        pending = [client.status(topic, "ann").pending]

        def settled() -> bool:
            pending.append(client.status(topic, "ann").pending)
            return pending[-1] == pending[-2]

        wait_for(settled, "no more to be taken")
        assert pending[-1] > 1000
        seen += [int(message.text.split()[0]) for message in taken]
        assert seen == list(range(3000))


def test_a_refusal_is_of_its_publish_alone(client: Client, topic: str) -> None:
    with client.session() as session:
        session.subscribe(topic, "ann")
        answers = [session.publish_soon(topic, body) for body in ("a", "x" * (MIB + 1), "b")]
        assert [type(each.exception()).__name__ for each in answers] == ["NoneType", TooLarge.__name__, "NoneType"]
        bad = session.publish_soon(topic, "x", ttl=-1)
        assert bad.exception()
        assert [each.text for each in session.read(topic, "ann", wait=0.3)] == ["a", "b"]


@pytest.mark.parametrize("text", ["\0" * MIB, "\n" * 900_000, '{"a":"b"}\n' * 100_000, "ä" * (MIB // 2)])
def test_a_text_of_the_greatest_size_is_published_whatever_json_makes_of_it(
    client: Client, topic: str, text: str
) -> None:
    with client.session() as session:
        session.subscribe(topic, "ann")
        session.publish(topic, text)
        assert next(session.read(topic, "ann", mode="take")).body == text.encode()


def test_a_loop_whose_window_is_full_ends_with_its_subscription_and_another_may_follow(
    client: Client, topic: str
) -> None:
    with client.session() as session:
        for _ in range(2):
            session.subscribe(topic, "ann")
            for n in range(2):
                session.publish(topic, str(n))
            loop = session.read(topic, "ann", window=2)
            assert [next(loop).text, next(loop).text] == ["0", "1"]
            client.unsubscribe(topic, "ann")
            with pytest.raises(NoSubscription, match="Subscribe again"):
                next(loop)


def test_a_session_outlives_the_drain_of_its_front(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    with Client(urls_of(cluster), retries=QUICK) as client, client.session() as session:
        session.subscribe("t", "ann")
        messages = session.read("t", "ann")
        for n in range(60):
            session.publish_soon("t", str(n))
            if n == 20:
                assert next(messages).text == "0"
                assert cluster.fronts[0].process.terminate() == 0
        assert [next(messages).text for _ in range(59)] == [str(n) for n in range(1, 60)]
        messages.close()


def test_asyncio_too(urls: list[str], topic: str) -> None:
    async def run() -> list[str]:
        async with AsyncClient(urls) as client, client.session() as session:
            await session.subscribe(topic, "ann")
            for n in range(10):
                await session.publish_soon(topic, str(n))
            jobs = [job async for job in session.read(topic, "ann", mode="lease", wait=0.3)]
            await asyncio.gather(*(session.acknowledge(job) for job in jobs))
            assert (await client.status(topic, "ann")).leased == 0
            return [job.text for job in jobs]

    assert asyncio.run(run()) == [str(n) for n in range(10)]


def test_a_full_topic_refuses_or_is_awaited(urls: list[str], ops_urls: list[str], topic: str) -> None:
    patience = Retries(total=30.0, base=0.01, max_pause=0.1, refused=True)
    with Client(urls) as client, Client(urls, retries=patience) as patient, Admin(ops_urls) as admin:
        client.subscribe(topic, "ann")
        admin.change_topic(topic, max_messages=1)
        with client.session() as session, patient.session() as waiting:
            session.publish(topic, "first")
            assert isinstance(session.publish_soon(topic, "x").exception(), Refused)
            answer = waiting.publish_soon(topic, "second")
            assert next(session.read(topic, "ann", mode="take")).text == "first"
            assert answer.result().subscribers == 1


def test_bench_measures_sessions(run: Run) -> None:
    found = {
        each["what"]: each for each in lines(run("bench", "--ws", "--seconds", "0.3", "--publishers", "1", "--json"))
    }
    assert found["publish"]["count"] == found["read"]["count"]
    assert found["read"]["count"]
    run("bench", "--ws", "--batch", "3", code=2)
