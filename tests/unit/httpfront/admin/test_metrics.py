"""What a front counts of itself, and the age of a broker's oldest message, without processes."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.server.commit_times import count_commit
from broker.state.oldest import oldest_age
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.stats import TIME_BOUNDS_US as BOUNDS_US
from common.protocol.wire import BrokerState, ReplyFrame
from httpfront.admin.broker_metrics import broker_metrics
from httpfront.admin.candidate_metrics import candidate_metrics
from httpfront.admin.exposition import exposition
from httpfront.admin.front_metrics import (
    BOUNDS,
    FrontMetrics,
    budget_metrics,
    build_info,
    candidate_status_metrics,
    port_metrics,
    session_metrics,
    slot_metrics,
    status_metrics,
    stream_metrics,
)
from httpfront.admin.metric_table import FRONT_METRICS
from httpfront.budget import Budget
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.resending import Resending
from httpfront.server.request_summary import RequestSummary
from httpfront.sessions.table import SessionLimits, SessionTable
from httpfront.streams.table import StreamTable
from tests.support.driver import BrokerDriver, batch


def samples(*families: Metric) -> dict[tuple[str, ...], float]:
    """Values by name and by label values in the order of the labels' names, as they are read back from the text."""
    parsed = text_string_to_metric_families(exposition(families).decode())
    return {
        (each.name, *(text for _, text in sorted(each.labels.items()))): each.value
        for family in parsed
        for each in family.samples
    }


def test_requests_are_counted_by_route_method_and_code() -> None:
    metrics = FrontMetrics()
    for status in (200, 200, 429):
        metrics.record(RequestSummary("POST", "/{topic}", status, 0.001, "id", 10))
    metrics.record(RequestSummary("", "", 400, 0.0, "", 0))
    for word in ("BREW", "BREW", "SHOUT"):
        metrics.record(RequestSummary(word, "/{topic}", 405, 0.1, "", 0))
    seen = samples(*metrics.collect())
    name = "fanmail_http_requests_total"
    assert {key[1:]: n for key, n in seen.items() if key[0] == name} == {
        ("200", "POST", "/{topic}"): 2,
        ("429", "POST", "/{topic}"): 1,
        ("400", "other", "none"): 1,
        ("405", "other", "/{topic}"): 3,
    }


def test_latencies_fall_into_buckets_that_count_what_is_at_most_their_bound() -> None:
    metrics = FrontMetrics()
    for duration in (BOUNDS[0], BOUNDS[0] + 1e-9, 1e9):
        metrics.record(RequestSummary("GET", "/livez", 200, duration, "", 0))
    seen = samples(*metrics.collect())
    name = "fanmail_http_request_duration_seconds"
    assert [seen[f"{name}_bucket", repr(bound), "/livez"] for bound in BOUNDS] == [1] + [2] * (len(BOUNDS) - 1)
    assert seen[f"{name}_bucket", "+Inf", "/livez"] == seen[f"{name}_count", "/livez"] == 3
    assert seen[f"{name}_sum", "/livez"] > 1e9


def test_a_link_knows_the_round_trip_of_its_last_ping() -> None:
    status = BrokerStatus("fanmail", "b0")
    status.connection_made(1.0)
    assert status.round_trip is None
    status.pinged(1.0)
    status.pinged(2.0)  # the first is not answered yet: what comes is its answer
    status.heard(ReplyFrame(1, 7, 5, BrokerState.READY, 1, []), 2.5)
    status.pong(ops.Pong("fanmail", "b0"), BrokerState.READY)
    assert status.round_trip == 1.5
    status.pong(ops.Pong("fanmail", "b0"), BrokerState.READY)
    assert status.round_trip == 1.5
    status.connection_lost()
    assert status.round_trip is None


def test_a_front_says_of_each_broker_whether_it_is_up() -> None:
    statuses = [BrokerStatus("fanmail", "b0"), BrokerStatus("fanmail", "b1")]
    statuses[0].up = True
    statuses[0].round_trip = statuses[1].round_trip = 0.25
    assert samples(*status_metrics(statuses)) == {
        ("fanmail_broker_up", "b0"): 1,
        ("fanmail_broker_up", "b1"): 0,
        ("fanmail_broker_round_trip_seconds", "b0"): 0.25,
    }


def test_commits_and_syncs_become_histograms() -> None:
    commits = {"commits": 5, "commit_us": 2_000_000, f"commit_le_us.{BOUNDS_US[1]}": 4}
    syncs = {
        "syncs": 5,
        "sync_us": 1_500_000,
        f"sync_le_us.{BOUNDS_US[0]}": 2,
        f"sync_le_us.{BOUNDS_US[1]}": 2,
    }
    stats = {"b0": {"topics": 3} | commits | syncs}
    seen = samples(*broker_metrics(stats))
    assert seen["fanmail_topics", "b0"] == 3
    assert {key[1] for key in seen} == {"b0"}
    buckets = [n for key, n in seen.items() if key[0] == "fanmail_commit_duration_seconds_bucket"]
    assert buckets == [0] + [4] * (len(BOUNDS_US) - 1) + [5]
    assert seen["fanmail_commit_duration_seconds_sum", "b0"] == 2
    buckets = [n for key, n in seen.items() if key[0] == "fanmail_sync_duration_seconds_bucket"]
    assert buckets == [2] + [4] * (len(BOUNDS_US) - 1) + [5]
    assert seen["fanmail_sync_duration_seconds_sum", "b0"] == 1.5


def test_every_family_is_there_once_and_says_what_it_is() -> None:
    metrics = FrontMetrics()
    metrics.record(RequestSummary("GET", "/livez", 200, 0.1, "", 0))
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    stats = {"b0": broker.ask(Op.STATS).result.values}
    table = StreamTable(cast(Any, None), 1)
    streams = [*stream_metrics(table), *session_metrics(SessionTable(table, SessionLimits(1, 1)))]
    front = [*metrics.collect(), *port_metrics(1, 2), *streams, *budget_metrics(Budget(1), {"b0": (1, 2)})]
    front += slot_metrics(Resending(*[cast(Any, None)] * 5))
    front += [*status_metrics([BrokerStatus("fanmail", "b0")]), *candidate_status_metrics([]), *build_info()]
    others = [*broker_metrics(stats), *candidate_metrics({("b0", "h1"): {}})]
    named = [family.name for family in (*front, *others)]
    assert len(named) == len(set(named))
    assert {family.name for family in front} == {row.name for row in FRONT_METRICS}
    assert all(family.documentation for family in (*front, *others))


def test_commits_and_syncs_are_counted_in_their_buckets() -> None:
    counters: Counter[str] = Counter()
    for took, synced in (
        (BOUNDS_US[0], 0),
        (BOUNDS_US[0] + 1, BOUNDS_US[0]),
        (BOUNDS_US[-1] + 1, None),
    ):
        count_commit(counters, took, synced)
    assert counters == {
        "commits": 3,
        "commit_us": 2 * BOUNDS_US[0] + BOUNDS_US[-1] + 2,
        f"commit_le_us.{BOUNDS_US[0]}": 1,
        f"commit_le_us.{BOUNDS_US[1]}": 1,
        "syncs": 2,
        "sync_us": BOUNDS_US[0],
        f"sync_le_us.{BOUNDS_US[0]}": 2,
    }


def test_the_oldest_message_is_that_of_all_topics(broker: BrokerDriver) -> None:
    def age() -> float:
        return float(broker.ask(Op.STATS).result.values["oldest_age_ms"]) / 1000

    for topic in (b"a", b"b"):
        broker.subscribe(topic, b"u")
    broker.publish(b"a", b"1")
    broker.elapse(100)
    broker.ask(Op.PUBLISH, b"b", args=batch(b"2", b"3"))
    broker.elapse(10)
    broker.publish(b"a", b"4")
    assert age() == 110
    broker.take(b"a", b"u")
    assert age() == 10, "the batch"
    broker.take(b"b", b"u")
    assert age() == 10, "which is kept until all of it is read"
    broker.take(b"b", b"u")
    assert age() == 0
    broker.elapse(5)
    assert age() == 5
    broker.unsubscribe(b"a", b"u")
    assert age() == 0
    assert broker.state.garbage.seconds == {}


def test_an_age_is_never_negative() -> None:
    assert oldest_age({5: 1}, 4_000) == 0
    assert oldest_age({}, 4_000) == 0


def test_messages_are_counted_one_by_one_and_for_each_user(broker: BrokerDriver) -> None:
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    broker.publish(b"nobody", b"x")
    broker.ask(Op.PUBLISH, b"t", args=batch(b"1", b"2", b"3"))
    broker.publish(b"t", b"4", delay=1000)
    broker.publish(b"t", b"5", key=b"k", digest=bytes(16))
    broker.publish(b"t", b"5", key=b"k", digest=bytes(16))
    broker.elapse(2)
    broker.fetch(b"t", b"u")
    broker.lease(b"t", b"v", 1)
    broker.elapse(2)
    broker.lease(b"t", b"v", 1)
    broker.after(b"t", b"u")
    counters = broker.dispatcher.counters
    assert (counters["published"], counters["delivered"], counters["redelivered"]) == (5, 7, 1)
    assert counters["dropped.no-subscribers"] == 1
