"""SIGTERM under load: every client sees complete responses, a refusal that may be retried, or a clean end."""

from __future__ import annotations

import time

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.clients import END, REFUSED
from tests.e2e.cluster import PATIENCE, Client, Cluster, wait_for
from tests.e2e.load import Load

pytestmark = pytest.mark.slow

ROUNDS = 5


def topics_of(cluster: Cluster, broker_id: str, count: int) -> list[str]:
    return [cluster.topic(broker_id, f"{broker_id}-stop{n}") for n in range(count)]


def test_a_front_that_stops(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=2, front_settings={"drain_idle": 0.3})
    stopping, other = cluster.fronts
    topics = topics_of(cluster, "b0", 2) + topics_of(cluster, "b1", 2)
    with Load([stopping.port, other.port], topics) as load:
        for _ in range(ROUNDS):
            load.await_more(30)
            idle = Client(stopping.port)
            assert idle.call("GET", "/livez").status == 200
            stopping.process.popen.terminate()
            assert idle.ends_cleanly()
            assert stopping.process.popen.wait(PATIENCE) == 0
            stopping = cluster.start_front(stopping.port)
            wait_for(stopping.ready, "the front to be ready again")
        load.await_more(30)
    # A front that was just started refuses until it has found its brokers.
    assert load.others(topics, {"200", "204", REFUSED, END, "503 broker-down"}) == []
    assert all(each.retry_after for each in load.seen if each.what.startswith("503"))
    assert {each.what for each in load.seen if each.port == other.port} <= {"200", "204"}
    assert violations(load.history, set(topics)) == []
    assert cluster.held()["messages"] == 0


def test_a_broker_that_stops(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=2)
    mine, others = topics_of(cluster, "b0", 2), topics_of(cluster, "b1", 2)
    with Load([front.port for front in cluster.fronts], mine + others) as load:
        for _ in range(ROUNDS):
            load.await_more(30)
            began = time.monotonic()
            assert cluster.brokers["b0"].terminate() == 0
            load.await_more(30, others)
            cluster.start_broker("b0")
            cluster.await_ready()
            load.await_more(30)
            assert load.summary(mine, after=began)["404 no-subscription"] > 0
    refused = {"503 draining", "503 broker-down", "503 wrong-incarnation"}
    assert load.others(mine, {"200", "204", "404 no-subscription"} | refused) == []
    assert all(each.retry_after for each in load.seen if each.what.startswith("503"))
    assert load.others(others, {"200", "204"}) == []
    assert violations(load.history, set(others)) == []
