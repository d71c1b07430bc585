"""kill -9 and SIGTERM under load, durable, in every mode of reading: nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.clients import KILLED
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import SPARING, Load

pytestmark = pytest.mark.slow

MODES = {"ann": "plain", "bob": "after-many", "cat": "lease", "dan": "lease-many"}
PUBLISHERS = ("single", "keyed-batch")
BROKER_GONE = {"503 broker-down", "503 wrong-incarnation", "503 loading", "503 draining"}
KILLS, STOPS = 10, 6
STEP = 3
"""Calls of every client between two faults."""


def topics_of(cluster: Cluster) -> list[str]:
    """Return two topics of each broker."""
    return [cluster.topic(broker.id, f"{broker.id}-{n}") for broker in cluster.map.brokers for n in range(2)]


def full_load(cluster: Cluster, roam: bool = False) -> Load:
    ports = [front.port for front in cluster.fronts]
    return Load(ports, topics_of(cluster), tuple(MODES), roam, MODES, PUBLISHERS, 60.0, pace_s=SPARING)


@pytest.fixture
def cluster(start_cluster: StartCluster) -> Cluster:
    return start_cluster(brokers=2, fronts=2, durable=True, front_settings={"drain_idle": 0.3})


def assert_kept(cluster: Cluster, load: Load, allowed: set[str]) -> None:
    assert violations(load.history, load.topics) == []
    assert Counter(each.what for each in load.others(load.topics, {"200", "204"} | allowed)) == {}
    assert all(each.retry_after for each in load.seen if each.what.startswith("503"))
    held = cluster.held()
    assert (held["messages"], held["subscriptions"]) == (0, len(load.topics) * len(load.users))


def in_turn(cluster: Cluster, rounds: int) -> Iterator[str]:
    for n in range(rounds):
        yield cluster.map.brokers[n % len(cluster.map.brokers)].id


def test_kill_9_of_brokers(cluster: Cluster) -> None:
    with full_load(cluster) as load:
        for broker_id in in_turn(cluster, KILLS):
            load.await_more(STEP)
            cluster.kill_broker(broker_id)
        load.await_more(STEP)
    assert_kept(cluster, load, BROKER_GONE | {"504 outcome-unknown"})


def test_kill_9_of_fronts(cluster: Cluster) -> None:
    with full_load(cluster, roam=True) as load:
        for n in range(KILLS):
            load.await_more(STEP)
            cluster.kill_front(cluster.fronts[n % 2])
        load.await_more(STEP)
    # A front that was just started refuses until it has found its brokers.
    assert_kept(cluster, load, KILLED | {"503 broker-down"})


def test_kill_9_of_a_broker_and_a_front_at_once(cluster: Cluster) -> None:
    with full_load(cluster, roam=True) as load:
        for n, broker_id in enumerate(in_turn(cluster, 2)):
            load.await_more(STEP)
            cluster.brokers[broker_id].kill()
            cluster.kill_front(cluster.fronts[n % 2])
            cluster.start_broker(broker_id)
        load.await_more(STEP)
    assert_kept(cluster, load, BROKER_GONE | KILLED | {"504 outcome-unknown"})


def test_sigterm(cluster: Cluster) -> None:
    with full_load(cluster) as load:
        for broker_id in in_turn(cluster, STOPS):
            load.await_more(STEP)
            assert cluster.brokers[broker_id].terminate() == 0
            cluster.start_broker(broker_id)
        load.await_more(STEP)
    assert_kept(cluster, load, BROKER_GONE)


def test_a_supervised_broker_comes_back_with_what_it_had(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, durable=True, supervised=True)
    assert cluster.supervisor is not None
    with full_load(cluster) as load:
        for broker_id in in_turn(cluster, 2):
            load.await_more(STEP)
            pid = cluster.broker_pid(broker_id)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda i=broker_id, p=pid: cluster.broker_pid(i) not in (0, p), "the broker to be started again")
        load.await_more(STEP)
    assert_kept(cluster, load, BROKER_GONE | {"504 outcome-unknown"})
