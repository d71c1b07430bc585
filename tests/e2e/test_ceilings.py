"""Every limit has its code and `Retry-After`; reading and unsubscribing continue at a limit, and free room (G9)."""

from __future__ import annotations

import http.client
import socket

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, Answer, Client, Cluster, wait_for

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_full_topic(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, broker_settings={"max_messages": 5, "max_bytes": 1000})
    web = cluster.fronts[0].web
    for user in ("ann", "bob"):
        web.subscribe("full", user)
    for n in range(5):
        assert web.publish("full", b"%d" % n).status == 200
    for _ in range(3):
        assert_refused(web.publish("full", b"over"), 429, "topic-full")
    assert web.subscribe("full", "cy").status == 200
    assert web.take("full", "ann").body == b"0"  # reading continues, and bob still holds the message
    assert_refused(web.publish("full", b"over"), 429, "topic-full")
    assert web.take("full", "bob").body == b"0"
    assert web.publish("full", b"5").headers["Msg-Id"].endswith("-6")
    assert_refused(web.publish("full", b"over"), 429, "topic-full")
    assert web.unsubscribe("full", "bob").status == 200
    assert web.drain("full", "ann") == [b"1", b"2", b"3", b"4", b"5"]
    assert web.drain("full", "cy") == [b"5"]
    assert cluster.held()["messages"] == 0

    # The same for bytes. Other topics are not affected, and an empty topic accepts one message of the full size.
    assert web.publish("full", b"x" * 1000).status == 200
    assert_refused(web.publish("full", b"x"), 429, "topic-full")
    web.subscribe("other", "ann")
    assert web.publish("other", b"x" * 999).status == 200
    assert web.unsubscribe("full", "cy").status == 200
    assert len(web.take("full", "ann").body) == 1000
    assert_refused(web.publish("full", b"x" * 1001), 429, "topic-full")
    assert web.publish("full", b"x" * 1000).status == 200


def test_topics_and_subscriptions(start_cluster: StartCluster) -> None:
    cluster = start_cluster(
        brokers=1, fronts=1, broker_settings={"max_topics": 2, "max_subscriptions": 4, "subscription_share": 100}
    )
    web = cluster.fronts[0].web
    assert web.subscribe("one", "ann").status == 200
    assert web.subscribe("two", "ann").status == 200
    assert_refused(web.subscribe("three", "ann"), 429, "too-many-topics")
    assert web.publish("three", b"x").headers["Msg-Subscribers"] == "0"
    assert web.subscribe("one", "bob").status == 200
    assert web.subscribe("one", "cy").status == 200
    assert_refused(web.subscribe("one", "dan"), 429, "too-many-subscriptions")
    assert web.subscribe("one", "cy").headers["Subscription-Created"] == "false"
    assert web.publish("one", b"continues").headers["Msg-Subscribers"] == "3"
    assert web.drain("one", "bob") == [b"continues"]
    assert web.unsubscribe("one", "bob").status == 200
    assert web.subscribe("one", "dan").headers["Subscription-Created"] == "true"
    assert web.unsubscribe("two", "ann").status == 200
    assert web.subscribe("three", "ann").status == 200
    assert_refused(web.subscribe("two", "ann"), 429, "too-many-topics")
    assert cluster.held()["subscriptions"] == 4


def test_memory(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, broker_settings={"memory": "4MiB"})
    web = cluster.fronts[0].web
    for topic in ("mem1", "mem2"):
        web.subscribe(topic, "ann")
    body = b"m" * 100_000
    sent = 0
    while (answer := web.publish(f"mem{sent % 2 + 1}", body)).status == 200:
        sent += 1
        assert sent < 50
    assert_refused(answer, 503, "memory-full")
    assert 30 <= sent <= 41
    stats = cluster.stats("b0")
    assert stats["messages"] == sent
    assert stats["memory_bytes"] <= 4 * MIB

    # Completely full of small ones: no new subscriptions either, but reading and unsubscribing continue.
    while (answer := web.publish("mem1", b"x" * 1000)).status == 200:
        sent += 1
    while web.subscribe("mem1", f"user-{cluster.stats('b0')['subscriptions']}").status == 200:
        pass
    assert_refused(web.subscribe("mem3", "ann"), 503, "memory-full")
    assert web.subscribe("mem1", "ann").headers["Subscription-Created"] == "false"
    assert len(web.take("mem2", "ann").body) == 100_000
    assert web.publish("mem2", body).status == 200
    assert_refused(web.publish("mem2", body), 503, "memory-full")
    assert web.unsubscribe("mem2", "ann").status == 200
    assert web.subscribe("mem3", "ann").status == 200
    assert web.publish("mem3", body).status == 200
    assert cluster.stats("b0")["memory_bytes"] <= 4 * MIB


@pytest.fixture
def narrow(start_cluster: StartCluster) -> Cluster:
    return start_cluster(
        brokers=1,
        fronts=1,
        front_settings={"connections": 3, "max_headers": "2KiB", "max_target": 200, "max_name": 50, "max_body": 100},
    )


def test_connections(narrow: Cluster) -> None:
    front = narrow.fronts[0]
    clients = [Client(front.port) for _ in range(3)]

    def served(client: Client) -> bool:
        """Return whether the client has one of the three places; the readiness probes' may still be closing."""
        answer = client.call("POST", "/t/u")
        return answer.status == 200 and client.connected

    for client in clients:
        wait_for(lambda client=client: served(client))
    for _ in range(3):
        extra = Client(front.port)
        answer = extra.call("GET", "/t/u")
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Connection"] == "close"
        for client in clients:
            assert client.call("GET", "/t/u").status == 204
            assert client.connected
        extra.close()
    clients[0].close()
    late = Client(front.port)
    wait_for(lambda: served(late))
    for client in (*clients, late):
        client.close()


def test_targets_headers_names_and_bodies(narrow: Cluster) -> None:
    front = narrow.fronts[0]

    def ask(*arguments: object) -> Answer:
        client = Client(front.port)
        try:
            return client.call(*arguments)  # type: ignore[arg-type]
        finally:
            client.close()

    assert wait_for(lambda: ask("POST", "/t/u").status == 200)
    assert ask("GET", f"/t/{'u' * 50}").status == 404
    assert ask("GET", f"/t/{'u' * 51}").code == "bad-name"
    assert ask("GET", "/t/u?" + "q" * 195).code == "bad-parameter"  # a target of 200 bytes
    assert ask("GET", "/t/u?" + "q" * 196).status == 414
    assert ask("GET", "/" + "q" * 5000).status == 414
    assert ask("GET", "/t/u", None, {"X-Large": "v" * 1800}).status == 204
    assert ask("GET", "/t/u", None, {"X-Large": "v" * 2100}).status == 431
    assert ask("POST", "/t", b"x" * 100).status == 200
    assert ask("POST", "/t", b"x" * 101).status == 413
    assert ask("GET", "/t/u").body == b"x" * 100


def test_a_refused_connection_is_told_before_it_asks_for_anything_large(narrow: Cluster) -> None:
    port = narrow.fronts[0].port
    holders = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(10)]
    client = Client(port)
    try:
        answer = client.call("POST", "/t", iter([b"x" * 50] * 2))
        assert answer.status == 503
    except (ConnectionError, http.client.HTTPException) as error:  # closed while the body was being sent
        pytest.fail(f"no answer but {error!r}")
    finally:
        client.close()
        for holder in holders:
            holder.close()
    late = Client(port)
    wait_for(lambda: late.call("GET", "/t/u").status == 404)
    late.close()


def test_a_body_that_its_broker_would_not_take_is_413_and_costs_nobody_else(start_cluster: StartCluster) -> None:
    cluster = start_cluster(
        brokers=1,
        fronts=1,
        broker_settings={"max_body": "64KiB", "max_batch": "64KiB"},
        front_settings={"max_body": "4MiB"},
    )
    front = cluster.fronts[0]
    front.web.subscribe("t", "ann")
    for size in (64 * 1024 + 1, 3 * 1024 * 1024):
        refused = front.web.publish("t", b"x" * size)
        assert (refused.status, refused.code) == (413, "body-too-large")
    assert front.web.publish("t", b"x" * 64 * 1024).status == 200
    assert front.web.drain("t", "ann") == [b"x" * 64 * 1024]
    assert not front.process.event("broker down")
