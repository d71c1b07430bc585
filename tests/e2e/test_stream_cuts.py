"""Streams that are cut at random moments, durable: nothing is lost, and what time confirms too early is announced."""

from __future__ import annotations

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import wait_for
from tests.e2e.cutting_proxy import SWALLOW
from tests.e2e.stream_cuts import STREAM_ENDS, STREAM_MODES, cut, cut_streams, ends, stream_load, stream_readers

pytestmark = pytest.mark.slow

CUTS, KILLS = 50, 2


def test_what_cut_streams_have_not_confirmed_comes_again_and_nothing_else(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=2, durable=True)
    with stream_load(cluster, "cut", STREAM_MODES) as load:
        cut(cluster, load, CUTS, KILLS)
    assert violations(load.history, load.topics) == []
    assert cut_streams(load) >= CUTS
    assert set(ends(load)) <= STREAM_ENDS, ends(load)
    assert sum(each.gaps for each in stream_readers(load)) > 0, "time has confirmed what stopped clients had not read"
    cluster.await_ready()
    assert cluster.held()["messages"] == 0


def test_a_front_that_confirms_what_it_writes_is_found(start_cluster: StartCluster) -> None:
    """Negative control: it claims that only the client confirms."""
    cluster = start_cluster(brokers=1, fronts=0, durable=True)
    cluster.fronts = [cluster.start_front(module="tests.support.hasty_front")]
    cluster.await_ready()
    with stream_load(cluster, "hasty", {"ann": "stream", "bob": "stream"}) as load:
        stalled = ("stopped", SWALLOW)
        wait_for(lambda: all(sum(each.ends[name] for name in stalled) >= 2 for each in stream_readers(load)), "stalls")
    found = "\n".join(violations(load.history, load.topics))
    assert "lost" in found
    assert "told of a gap" in found
