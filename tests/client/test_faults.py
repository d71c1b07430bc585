"""Servers that die, refuse and lose responses: no message is lost, and none is stored twice."""

from __future__ import annotations

import threading

import pytest

from fanmail import (
    Client,
    CursorLost,
    NoSubscription,
    OutcomeUnknown,
    Refused,
    Retries,
    Unavailable,
)
from tests.client.conftest import urls_of
from tests.client.proxy import FORWARD, HANG_UP, REFUSE, SWALLOW, Proxy, first
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, wait_for

QUICK = Retries(total=20.0, base=0.01, max_pause=0.1)


def bodies(client: Client, topic: str) -> list[str]:
    return [each.text for each in client.messages(topic, "ann", batch=100, until_empty=True)]


def test_a_front_killed_in_the_middle_of_a_loop_costs_nothing(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    sent = [str(n) for n in range(200)]
    with Client(urls_of(cluster), retries=QUICK) as client:
        client.subscribe("t", "ann")
        seen: list[str] = []

        def read() -> None:
            for message in client.messages("t", "ann"):
                seen.append(message.text)
                if message.text == sent[-1]:
                    return

        thread = threading.Thread(target=read)
        thread.start()
        for each in sent:
            client.publish("t", each)
            if each == "100":
                cluster.fronts[0].process.kill()
        thread.join(60)
        assert list(dict.fromkeys(seen)) == sent  # at least once: one may have been delivered twice


def test_a_loop_waits_for_the_only_front_to_come_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.fronts[0]
    with Client(urls_of(cluster), retries=QUICK) as client:
        client.subscribe("t", "ann")
        client.publish_many("t", ["a", "b"])
        messages = client.messages("t", "ann")
        assert next(messages).text == "a"
        front.process.kill()
        with Client(urls_of(cluster), retries=Retries(total=0)) as other, pytest.raises(Unavailable):
            other.publish("t", "c")
        cluster.kill_front(front)
        assert next(messages).text == "b"


def test_a_memory_broker_that_was_restarted_is_told_of_clearly(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    with Client(urls_of(cluster), retries=QUICK) as client:
        client.subscribe("t", "ann")
        client.publish_many("t", ["a", "b"])
        messages = client.messages("t", "ann")
        kept = next(messages).id
        cluster.kill_broker("b0")
        with pytest.raises(NoSubscription, match=r"memory only and was restarted.*Subscribe again.*after='0'"):
            next(messages)
        client.subscribe("t", "ann")
        client.publish("t", "c")
        with pytest.raises(CursorLost):
            next(client.messages("t", "ann", after=kept))
        assert bodies(client, "t") == ["c"]


def test_a_durable_broker_that_was_restarted_is_not_noticed(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    with Client(urls_of(cluster), retries=QUICK) as client:
        client.subscribe("t", "ann")
        client.publish_many("t", ["a", "b"])
        messages = client.messages("t", "ann")
        assert next(messages).text == "a"
        cluster.kill_broker("b0")
        assert next(messages).text == "b"
        client.publish("t", "c")
        assert next(messages).text == "c"


def test_a_storm_of_503_is_waited_out(cluster: Cluster, topic: str) -> None:
    with Proxy(cluster.fronts[0].port, first(20, REFUSE)) as proxy, Client(proxy.url, retries=QUICK) as client:
        client.subscribe(topic, "ann")
        client.publish(topic, "a", key="")
        assert bodies(client, topic) == ["a"]
        assert len(proxy.seen) == 20 + 2 + 2


def test_a_storm_that_lasts_too_long_is_an_error(cluster: Cluster, topic: str) -> None:
    patience = Retries(total=0.5, base=0.01, max_pause=0.05)
    with Proxy(cluster.fronts[0].port, first(10**6, REFUSE)) as proxy, Client(proxy.url, retries=patience) as client:
        with pytest.raises(Unavailable):
            client.publish(topic, "a")
        assert len(proxy.seen) > 5


@pytest.mark.parametrize("how", [SWALLOW, HANG_UP])
def test_a_publish_whose_answer_is_lost_is_repeated_with_its_key_and_stored_once(
    cluster: Cluster, topic: str, client: Client, how: str
) -> None:
    client.subscribe(topic, "ann")
    with Proxy(cluster.fronts[0].port, first(2, how)) as proxy, Client(proxy.url, retries=QUICK) as other:
        stored = other.publish(topic, "a")
        assert stored.replayed
        many = other.publish_many(topic, ["b", "c"])
        assert not many.replayed
        keys = [key for _, _, key in proxy.seen]
    assert len(keys) == 4
    assert len(set(keys)) == 2
    assert None not in keys
    assert bodies(client, topic) == ["a", "b", "c"]


@pytest.mark.parametrize("how", [SWALLOW, HANG_UP])
def test_a_publish_without_a_key_is_not_repeated(cluster: Cluster, topic: str, client: Client, how: str) -> None:
    client.subscribe(topic, "ann")
    with Proxy(cluster.fronts[0].port, first(1, how)) as proxy, Client(proxy.url, retries=QUICK) as other:
        with pytest.raises(OutcomeUnknown):
            other.publish(topic, "a", key="")
        assert len(proxy.seen) == 1
    assert bodies(client, topic) == ["a"]  # it was executed


def test_a_loop_whose_answers_are_lost_gets_every_message(cluster: Cluster, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, [str(n) for n in range(30)])
    turn = iter(range(10**6))

    def plan(method: str, target: str) -> str:
        return (FORWARD, SWALLOW, HANG_UP)[next(turn) % 3]

    with Proxy(cluster.fronts[0].port, plan) as proxy, Client(proxy.url, retries=QUICK) as other:
        seen = [each.text for each in other.messages(topic, "ann", until_empty=True)]
    assert seen == [str(n) for n in range(30)]


def test_a_take_whose_answer_is_lost_is_told(cluster: Cluster, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "a")
    with (
        Proxy(cluster.fronts[0].port, first(1, SWALLOW, "GET")) as proxy,
        Client(proxy.url, retries=QUICK) as other,
        pytest.raises(OutcomeUnknown),
    ):
        other.receive(topic, "ann")
    assert client.receive(topic, "ann") is None


def test_a_full_topic_refuses_and_may_be_waited_for(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, broker_settings={"max_messages": 2})
    with (
        Client(urls_of(cluster)) as client,
        Client(urls_of(cluster), retries=Retries(refused=True, base=0.01)) as patient,
    ):
        client.subscribe("t", "ann")
        client.publish("t", "a")
        client.publish("t", "b")
        with pytest.raises(Refused) as caught:
            client.publish("t", "c")
        assert (caught.value.code, caught.value.retry_after) == ("topic-full", 1.0)
        thread = threading.Thread(target=patient.publish, args=("t", "c"))
        thread.start()
        assert client.receive("t", "ann") is not None
        thread.join(30)
        assert wait_for(lambda: client.status("t", "ann").pending == 2)
