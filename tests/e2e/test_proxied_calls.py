"""The tests of the API again, through a proxy: clients see no difference.

All of them go through one port of one proxy, and those of what a proxy is likely to change through both programs, with
and without TLS.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import (
    test_core_calls,
    test_leases,
    test_messages,
    test_names,
    test_publishing,
    test_reading,
    test_streams,
)
from tests.e2e.cluster import Cluster, Front
from tests.e2e.proxies import DOORS, Door, running

MODULES = (test_core_calls, test_names, test_messages, test_publishing, test_reading, test_leases, test_streams)
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
    "test_a_key_that_is_removed_ends_its_stream_before_the_next_message",
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


FULL = ("nginx", "https")
"""nginx reads and rewrites more than HAProxy."""
LIKELY = {
    "test_subscribe_publish_take_unsubscribe",
    "test_every_answer_to_a_get_is_not_to_be_stored",
    "test_errors_are_problem_documents",
    "test_the_request_id_is_taken_or_made",
    "test_a_legal_name_is_a_topic_and_a_user_of_its_own",
    "test_different_names_are_never_the_same_topic",
    "test_two_spellings_of_one_name_are_one_topic",
    "test_empty_segments_are_not_folded",
    "test_a_target_in_absolute_form_means_the_same",
    "test_kept_headers_come_back_byte_for_byte",
    "test_8_kib_of_headers_are_kept_and_one_byte_more_is_refused",
    "test_any_body_comes_back_as_it_was",
    "test_chunked_bodies",
    "test_a_chunked_body_over_the_ceiling_is_refused",
    "test_a_connection_is_kept_through_errors_of_the_application",
    "test_a_publish_through_one_front_answers_a_wait_at_another",
    "test_a_batch_comes_back_as_frames_and_as_json",
    "test_a_large_batch_is_cut_at_the_ceilings_of_a_fetch",
    "test_a_publish_repeated_through_another_front_is_stored_once",
    "test_giving_back_and_dead_letters",
    "test_a_stream_has_what_is_there_and_what_comes",
    "test_a_client_that_leaves_is_noticed",
}
assert TESTS.keys() - OTHERWISE >= LIKELY


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    likely = metafunc.function.__name__ in LIKELY
    doors = DOORS if likely else [pytest.param(FULL, marks=pytest.mark.slow)]
    metafunc.parametrize("cluster", doors, indirect=True, scope="module", ids=":".join)


@pytest.fixture(scope="module")
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
