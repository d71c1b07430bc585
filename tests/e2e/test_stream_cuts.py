"""Streams that are cut at random moments, durable: nothing is lost, and what time has confirmed too early is announced."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import SPARING, Load
from tests.e2e.stream_readers import FAULTS, StreamReader

pytestmark = pytest.mark.slow

MODES = {"ann": "stream", "bob": "stream", "cat": "stream", "dan": "timed-stream"}
CUTS = 100
KILLS = 3
ENDS = {*FAULTS, "its front or broker", "event: error", "answered 503", "answered 504"}
"""What may happen to a stream. Nothing is reset, and no subscription ends."""


def cut(cluster: Cluster, cuts: int, kills: int) -> Load:
    """Cut streams under load, and kill as many fronts and brokers in between."""
    topics = [cluster.topic(broker.id, f"cut-{broker.id}") for broker in cluster.map.brokers]
    ports = [front.port for front in cluster.fronts]
    load = Load(ports, topics, tuple(MODES), True, MODES, ("single", "keyed-batch"), 90.0, pace_s=SPARING)
    with load:
        for n in range(2 * kills + 1):
            wait_for(lambda n=n: sum(each.cut for each in readers(load)) >= cuts * (n + 1) // (2 * kills + 1), "cuts")
            if n == 2 * kills:
                break
            if n % 2:
                cluster.kill_front(cluster.fronts[n // 2 % len(cluster.fronts)])
            else:
                cluster.kill_broker(cluster.map.brokers[n // 2 % len(cluster.map.brokers)].id)
    return load


def readers(load: Load) -> list[StreamReader]:
    found = [load.reader(topic, user) for topic in load.topics for user in load.users]
    return [each for each in found if isinstance(each, StreamReader)]


def ends(load: Load) -> Counter[str]:
    return sum((each.ends for each in readers(load)), Counter())


def test_what_cut_streams_have_not_confirmed_comes_again_and_nothing_else(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=2, durable=True)
    load = cut(cluster, CUTS, KILLS)
    assert violations(load.history, load.topics) == []
    seen = ends(load)
    assert set(seen) <= ENDS, seen
    assert sum(seen[each] for each in FAULTS) >= CUTS
    assert sum(each.gaps for each in readers(load)) > 0, "time has confirmed what stopped clients had not read"
    cluster.await_ready()
    assert cluster.held()["messages"] == 0
