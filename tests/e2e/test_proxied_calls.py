"""The tests of the API again, through each proxy, with and without TLS: clients see no difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import test_core_calls, test_leases, test_messages, test_names, test_publishing, test_reading
from tests.e2e.cluster import Cluster, Front
from tests.e2e.proxies import DOORS, Door, running

MODULES = (test_core_calls, test_names, test_messages, test_reading, test_publishing, test_leases)
OTHERWISE = {
    # nginx responds to some itself: see test_proxies.py.
    "test_every_other_method_is_405_with_allow",
    "test_an_illegal_name_is_refused_everywhere",
    "test_options_of_the_whole_server_and_of_what_is_no_path",
    # The client's connection is the proxy's.
    "test_a_body_over_the_ceiling_is_refused",
    "test_curl_waits_for_100_continue_before_a_large_body",
    "test_a_large_body_is_refused_before_it_is_sent",
    "test_http_1_0",
    # These start clusters of their own.
    "test_clients_that_vanish_while_waiting_take_nothing",
    "test_a_front_that_is_full_of_waiters_answers_at_once",
    "test_ceilings_of_topics_go_by_their_names",
    "test_twenty_workers_that_are_killed_acknowledge_every_message_once",
    "test_a_give_back_wakes_a_worker_that_waits",
    # The first uses no proxy, and the second takes seconds for what happens behind it.
    "test_index_and_probes",
    "test_settings_of_a_subscription_end_it_when_nobody_calls",
}
TESTS = {name: test for each in MODULES for name, test in vars(each).items() if name.startswith("test_")}
assert TESTS.keys() >= OTHERWISE
globals().update({name: test for name, test in TESTS.items() if name not in OTHERWISE})


@pytest.fixture(scope="module", params=DOORS, ids=":".join)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Yield a cluster whose fronts are the ports of a proxy."""
    program, scheme = request.param
    cluster = Cluster(brokers=2, fronts=2)
    fronts = cluster.fronts
    try:
        with running(program, [front.port for front in fronts]) as proxy:
            cluster.fronts = [Door(proxy, scheme) for _ in fronts]
            yield cluster
    finally:
        cluster.fronts = fronts
        cluster.close()


@pytest.fixture
def front(cluster: Cluster) -> Front:
    return cluster.fronts[0]
