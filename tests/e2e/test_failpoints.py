"""A broker that dies or fails at a chosen point of a commit.

Negative controls show what the checker says of one that breaks its promises.
"""

from __future__ import annotations

import random

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import PATIENCE, Cluster, Process, wait_for
from tests.e2e.load import SPARING, Load
from tests.support.faulty_store import Point

pytestmark = pytest.mark.slow

TIMES = 5
MODES = {"ann": "plain", "bob": "after", "cat": "lease-many"}
GONE = {"200", "204", "503 broker-down", "503 wrong-incarnation", "503 loading", "504 outcome-unknown"}
STOLEN = 3
"""Messages."""
SEVERAL = 3
"""Calls of every client between two faults."""


def faulty(cluster: Cluster, point: Point, argument: object) -> Process:
    """Replace b0 by a broker with a faulty store."""
    cluster.brokers["b0"].terminate()
    return cluster.start_broker("b0", "tests.support.faulty_broker", point, str(argument))


def faulty_from_the_start(cluster: Cluster, point: Point) -> Process:
    """Replace b0 by a broker with a faulty store that is ready until everyone has subscribed."""
    process = faulty(cluster, point, 100)
    wait_for(lambda: process.event("serving"), "the broker to serve")
    cluster.await_ready()
    return process


def load_of(cluster: Cluster, topics: int = 2, publishers: tuple[str, ...] = ("single", "keyed-batch")) -> Load:
    ports = [front.port for front in cluster.fronts]
    return Load(ports, [f"t{n}" for n in range(topics)], tuple(MODES), False, MODES, publishers, pace_s=SPARING)


@pytest.fixture
def cluster(start_cluster: StartCluster) -> Cluster:
    return start_cluster(brokers=1, fronts=1, durable=True)


def assert_kept(cluster: Cluster, load: Load) -> None:
    assert violations(load.history, load.topics) == []
    assert load.others(load.topics, GONE) == []
    assert cluster.held()["messages"] == 0


@pytest.mark.parametrize("point", [Point.BEFORE, Point.WRITTEN, Point.SYNCED])
def test_killed_at_a_point_of_the_commit(cluster: Cluster, point: Point) -> None:
    rng = random.Random(point)
    process = faulty_from_the_start(cluster, point)
    with load_of(cluster) as load:
        for _ in range(TIMES):
            assert process.popen.wait(PATIENCE) == -9, process.about()
            process = faulty(cluster, point, rng.randint(2, 60))
        process.popen.wait(PATIENCE)
        cluster.start_broker("b0")
        load.await_more(SEVERAL)
    assert load.summary(load.topics)["504 outcome-unknown"] > 0
    assert_kept(cluster, load)


@pytest.mark.parametrize("point", [Point.RAISES, Point.RAISES_LATE, Point.BUG])
def test_a_commit_that_fails_ends_the_broker_with_one_line_and_nobody_is_answered(
    cluster: Cluster, point: Point
) -> None:
    process = faulty_from_the_start(cluster, point)
    with load_of(cluster) as load:
        for n in range(TIMES):
            assert process.popen.wait(PATIENCE) == 1, process.about()
            (line,) = [each for each in process.events() if each["level"] in ("error", "critical")]
            if point is Point.BUG:
                assert line["event"].startswith("a broken invariant ends the broker")
                assert "ZeroDivisionError" in line["exception"]
            else:
                assert line["reason"].endswith("b0/store.db: disk I/O error")
                assert "Traceback" not in process.log()
            if n < TIMES - 1:
                process = faulty(cluster, point, 30)
        cluster.start_broker("b0")
        load.await_more(SEVERAL)
    assert_kept(cluster, load)


def test_a_broker_that_answers_without_a_commit_is_found(cluster: Cluster) -> None:
    process = faulty_from_the_start(cluster, Point.UNSAVED)
    with load_of(cluster, publishers=("single",)) as load:
        wait_for(lambda: cluster.stats("b0").get("commits", 0) > 150, "commits that are none")
        process.kill()
        cluster.start_broker("b0")
        load.await_more(SEVERAL)
    found = "\n".join(violations(load.history, load.topics))
    assert "acknowledged messages" in found
    assert "to others" in found, "ids are given out twice"


@pytest.mark.parametrize(
    ("point", "publisher"),
    [
        pytest.param(Point.KEYLESS, "keyed", id="a broker forgets idempotency keys"),
        pytest.param(Point.SYNCED, "forgetful", id="a client repeats without its key"),
    ],
)
def test_what_is_stored_twice_is_found(cluster: Cluster, point: Point, publisher: str) -> None:
    process = faulty_from_the_start(cluster, point)
    with load_of(cluster, publishers=(publisher,)) as load:
        for _ in range(2):
            assert process.popen.wait(PATIENCE) == -9
            process = faulty(cluster, point, 20)
        process.popen.wait(PATIENCE)
        cluster.start_broker("b0")
        load.await_more(SEVERAL)
    assert "to others" in "\n".join(violations(load.history, load.topics))


@pytest.mark.parametrize("user", MODES)
def test_a_message_that_is_taken_away_is_found(start_cluster: StartCluster, user: str) -> None:
    """Read as this user, without a record of it, messages that the user has never been shown."""
    cluster = start_cluster(brokers=1, fronts=1)
    web = cluster.fronts[0].web
    with load_of(cluster, topics=1) as load:
        load.await_more(SEVERAL)
        with load.reader("t0", user).paused():
            shown = {each.body for each in load.history.takes if each.user == user}

            def steal() -> bool:
                taken = web.take("t0", user)
                return taken.status == 200 and taken.body not in shown

            for _ in range(STOLEN):
                wait_for(steal, "a message to steal")
        load.await_more(SEVERAL)
    assert f"{user} of t0 lost" in "\n".join(violations(load.history, load.topics))
