"""When a log is lost, and which settings of a stream are named."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from broker.replica.engine.names import StreamName, name_of
from broker.replica.jetstream import api
from broker.replica.jetstream.health import GONE_S, Health, info_of, payload_problems, problems_of

NAME = StreamName("fanmail", "b_0", bytes.fromhex("00112233445566ff"))
GOOD = api.Config(
    NAME.stream,
    [NAME.subject],
    num_replicas=3,
    max_bytes=1000,
    discard="new",
    deny_delete=True,
    allow_direct=True,
)
NO_STREAM = api.RequestError(api.ApiError(404, api.NO_STREAM, "stream not found"))


class Watched:
    def __init__(self) -> None:
        self.now = 100.0
        self.health = Health(NAME, lambda: self.now)


def described(last: int, created: str = "then") -> api.Described:
    return api.Described(config=GOOD, state=api.Positions(1, last, 10), created=created)


def test_a_stream_is_gone_when_the_servers_say_so_for_a_while() -> None:
    watched = Watched()
    health = watched.health
    assert health.on_error(NO_STREAM) == ""
    watched.now += GONE_S
    assert health.on_error(ConnectionError()) == ""
    assert "has no stream FM_fanmail_b_0_00112233445566ff" in health.on_error(NO_STREAM)


def test_a_server_that_knows_the_stream_is_believed() -> None:
    watched = Watched()
    watched.health.on_error(NO_STREAM)
    watched.now += GONE_S
    watched.health.on_answer()
    assert watched.health.on_error(NO_STREAM) == ""


def test_a_stream_that_was_made_anew_is_another_one() -> None:
    health = Watched().health
    assert health.on_described(described(0)) == ""
    assert "made anew" in health.on_described(described(0, "later"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_replicas": 1}, "num_replicas is 1, not 3"),
        ({"storage": "memory"}, "storage is memory"),
        ({"retention": "interest"}, "retention is interest"),
        ({"discard": "old"}, "discard is old, not new"),
        ({"max_age": 10**9}, "max_age"),
        ({"max_msgs": 10}, "max_msgs is 10"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject"),
        ({"max_msg_size": 1000}, "max_msg_size"),
        ({"max_bytes": -1}, "max_bytes is unlimited"),
        ({"deny_delete": False}, "deny_delete is false, not true"),
        ({"deny_purge": True}, "deny_purge"),
        ({"allow_direct": False}, "allow_direct"),
        ({"allow_rollup_hdrs": True}, "allow_rollup_hdrs"),
        ({"allow_msg_ttl": True}, "allow_msg_ttl"),
        ({"no_ack": True}, "no_ack"),
        ({"sealed": True}, "sealed"),
        ({"mirror": {"name": "other"}}, "mirror is true, not false"),
        ({"sources": [{"name": "other"}]}, "sources"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], says: str) -> None:
    assert problems_of(GOOD, 3) == ()
    (problem,) = problems_of(replace(GOOD, **change), 3)
    assert says in problem


def test_a_server_that_takes_no_greatest_batch_is_named() -> None:
    assert payload_problems(9 * 2**20, 8 * 2**20) == ()
    assert payload_problems(0, 8 * 2**20) == (), "not connected yet"
    assert "max_payload of the NATS server is 1048576, and must be at least 9437184" in payload_problems(
        2**20, 8 * 2**20
    )


def test_a_candidate_is_told_where_the_copies_are() -> None:
    answer = described(7)
    answer.cluster = api.Members("n1", [api.Peer("n2"), api.Peer("n0")])
    info = info_of(answer, 3, ("another",))
    assert (info.first, info.last, info.bytes, info.max_bytes) == (1, 7, 10, 1000)
    assert (info.leader, info.placement, info.problems) == ("n1", ("n0", "n1", "n2"), ("another",))


def test_a_server_counts_as_proven_when_that_is_noted_at_the_stream() -> None:
    answer = described(7)
    answer.cluster = api.Members("n1", [api.Peer("n2"), api.Peer("n0")])
    assert info_of(answer, 3, ()).unproven == ("n0", "n1", "n2")
    answer.config = replace(GOOD, metadata={"fanmail_syncs": "n2,n0", "_nats.ver": "2.15.1"})
    assert info_of(answer, 3, ()).unproven == ("n1",)


def test_names_of_other_brokers_are_not_taken_for_ours() -> None:
    assert name_of("fanmail", "b_0", NAME.stream) == NAME
    assert name_of("fanmail_b", "0", NAME.stream) != NAME
    for other in ("FM_fanmail_b_1_00112233445566ff", "FM_fanmail_b_0_xyz", "KV_x", "FM_fanmail_b_0_00112233445566FF"):
        assert name_of("fanmail", "b_0", other) is None
