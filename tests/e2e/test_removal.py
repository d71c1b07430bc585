"""A message is stored until its last subscriber has it, and then nothing is left, according to the brokers."""

from __future__ import annotations

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster

NOTHING = {"topics": 0, "subscriptions": 0, "messages": 0, "content_bytes": 0}


@pytest.fixture
def empty(start_cluster: StartCluster) -> Cluster:
    """Return a cluster that holds nothing."""
    cluster = start_cluster(brokers=2, fronts=1)
    assert cluster.held() == NOTHING
    return cluster


def test_the_removal_rule(empty: Cluster) -> None:
    web = empty.fronts[0].web

    # One body for any number of subscribers, until the last of them has it.
    for user in ("ann", "bob", "cy"):
        web.subscribe("news", user)
    for _ in range(10):
        web.publish("news", b"x" * 1000)
    stored = {"topics": 1, "subscriptions": 3, "messages": 10, "content_bytes": 10_000}
    assert empty.held() == stored
    for user in ("ann", "bob"):
        assert len(web.drain("news", user)) == 10
    assert empty.held() == stored
    web.take("news", "cy")
    assert empty.held() == stored | {"messages": 9, "content_bytes": 9000}
    web.drain("news", "cy")
    assert empty.held() == stored | {"messages": 0, "content_bytes": 0}

    # Unsubscribing deletes what only that user had not read.
    for _ in range(5):
        web.publish("news", b"y" * 100)
    web.drain("news", "ann")
    web.take("news", "bob")
    web.unsubscribe("news", "cy")
    assert empty.held() == {"topics": 1, "subscriptions": 2, "messages": 4, "content_bytes": 400}
    web.unsubscribe("news", "bob")
    assert empty.held() == {"topics": 1, "subscriptions": 1, "messages": 0, "content_bytes": 0}

    # A topic ends with its last subscription, and so do unread messages.
    web.publish("news", b"z", {"Meta-Kept": "counts too"})
    assert empty.held()["content_bytes"] > len(b"zcounts too")
    web.unsubscribe("news", "ann")
    assert empty.held() == NOTHING

    # A topic without subscriptions leaves nothing behind.
    for n in range(100):
        assert web.publish(f"void-{n}", b"x" * 1000).status == 200
        assert web.take(f"void-{n}", "ann").status == 404
        assert web.unsubscribe(f"void-{n}", "ann").status == 404
    assert empty.held() == NOTHING
    memory = [empty.stats(broker_id)["memory_bytes"] for broker_id in empty.brokers]
    assert memory == [0, 0]


def test_a_reader_in_the_middle_keeps_only_what_is_behind_it(empty: Cluster) -> None:
    web = empty.fronts[0].web
    web.subscribe("middle", "slow")
    for n in range(200):
        if n == 100:
            web.subscribe("middle", "late")
        web.publish("middle", b"%03d" % n)
    for n in range(50):
        assert web.take("middle", "slow").body == b"%03d" % n
    assert empty.held()["messages"] == 150
    web.unsubscribe("middle", "slow")
    assert empty.held()["messages"] == 100
    assert web.drain("middle", "late") == [b"%03d" % n for n in range(100, 200)]
    assert empty.held()["messages"] == 0
