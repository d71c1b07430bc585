"""Sessions that are cut at random moments, durable: nothing is lost, and only what was not acknowledged is repeated."""

from __future__ import annotations

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import wait_for
from tests.e2e.session_cuts import SESSION_ENDS, cut_all, cut_sessions, session_ends, session_load
from tests.e2e.session_readers import SessionReader

pytestmark = pytest.mark.slow

CUTS = 12


def test_what_cut_sessions_have_not_acknowledged_comes_again_and_nothing_else(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2, durable=True)
    with session_load(cluster, "cut") as load:
        cut_all(cluster, load, CUTS, 1)
    assert violations(load.history, load.topics) == []
    assert cut_sessions(load) >= CUTS
    assert set(session_ends(load)) <= SESSION_ENDS, session_ends(load)
    cluster.await_ready()
    assert cluster.held()["messages"] == 0


def test_a_client_that_acknowledges_before_it_handles_is_found(start_cluster: StartCluster) -> None:
    """Negative control: it is killed in between."""
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    with session_load(cluster, "hasty", {"ann": "hasty-session"}) as load:
        (reader,) = load.readers_of(SessionReader)
        wait_for(lambda: reader.ends["killed"] > 3, "kills")
    assert "lost" in "\n".join(violations(load.history, load.topics))
