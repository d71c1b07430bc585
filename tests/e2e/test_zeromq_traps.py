"""The traps of ZeroMQ, each with what would happen without its remedy (G7: 503 and 504 mean what they say)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.cluster.description import describe_local
from common.protocol import ops, wire
from common.protocol.ops import Op, Publish
from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, clean_environ, flags_of, wait_for
from tests.e2e.fake_broker import FakeBroker

pytestmark = pytest.mark.slow

BODY = 16 * 1024
OTHER_BROKER = "another broker answers at this endpoint"


def test_a_request_that_lay_in_a_socket_buffer_past_its_deadline_is_not_executed(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"broker_timeout": 1.0})
    front = cluster.fronts[0]
    one = front.web
    one.subscribe("late", "ann")
    broker = cluster.brokers["b0"]
    broker.signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        bodies = [b"too late", b"x" * 100_000]  # in one frame, and in a frame of its own
        answers = list(threads.map(lambda body: front.web.publish("late", body), bodies))
    broker.signal(signal.SIGCONT)
    for answer in answers:
        assert (answer.status, answer.code) == (504, "outcome-unknown")
        assert "Retry-After" not in answer.headers
    wait_for(lambda: cluster.stats("b0").get("errors.expired", 0) == 2, "both requests to be dropped")
    cluster.await_ready()
    assert one.publish("late", b"in time").headers["Msg-Id"].endswith("-1")
    assert one.drain("late", "ann") == [b"in time"]
    assert cluster.stats("b0")["PUBLISH"] == 1


def test_a_request_for_the_past_is_refused(cluster: Cluster) -> None:
    topic = cluster.topic("b0", "past")
    cluster.fronts[0].web.subscribe(topic, "ann")
    with cluster.peer("b0") as peer:
        peer.ping()
        for late in (0, 1, peer.clock):
            assert peer.ask(Op.PUBLISH, topic, "", Publish(b"", b"x"), deadline=late).code == "expired"
    assert cluster.fronts[0].web.drain(topic, "ann") == []


def test_a_publish_while_its_broker_is_down_is_refused_at_once_and_never_executed(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, front_settings={"broker_timeout": PATIENCE})
    front = cluster.fronts[0]
    topics = [cluster.topic("b0", f"down-{n}") for n in range(3)]
    front.web.subscribe(topics[0], "ann")
    cluster.brokers["b0"].kill()
    wait_for(lambda: not front.ready(), "the front to notice")
    began = time.monotonic()
    for _ in range(20):
        for topic in topics:
            answer = front.web.publish(topic, b"queued for nobody")
            assert (answer.status, answer.code) == (503, "broker-down")
            assert answer.headers["Retry-After"] == "1"
    assert time.monotonic() - began < PATIENCE / 2
    assert front.ready(strict=False)

    cluster.start_broker("b0")
    wait_for(front.ready, "the front to be ready again")
    assert front.web.take(topics[0], "ann").status == 404
    for topic in topics:
        front.web.subscribe(topic, "ann")
        assert front.web.drain(topic, "ann") == []
    stats = cluster.stats("b0")
    assert stats.get("PUBLISH", 0) == 0
    assert not [name for name in stats if name.startswith("errors.w")]  # nothing of the previous life arrived either


@pytest.mark.parametrize(("requests", "all_arrive"), [(1800, True), (5000, False)])
def test_replies_to_a_peer_that_does_not_read_arrive_later_or_are_counted(
    start_cluster: StartCluster, requests: int, all_arrive: bool
) -> None:
    """Expect that replies beyond the 1,000 that ZeroMQ queues wait in the broker, and are counted over 16 MiB."""
    cluster = start_cluster(brokers=1, fronts=1)
    with cluster.peer("b0") as setup:
        setup.ping()
        for first in range(0, requests, 50):
            setup.send([(Op.SUBSCRIBE, "slow", f"u{n}", ops.Nothing()) for n in range(first, first + 50)])
            assert not any(reply.code for reply in setup.receive())
        assert setup.ask(Op.PUBLISH, "slow", "", Publish(b"", b"x" * BODY)).result.subscribers == requests
    with cluster.peer("b0", RCVHWM=1, RCVBUF=4096) as peer:
        peer.ping()
        for n in range(requests):
            peer.send([(Op.TAKE, "slow", f"u{n}", ops.Nothing())])
        wait_for(lambda: cluster.stats("b0").get("TAKE") == requests, "everything to be handled")
        dropped = cluster.stats("b0").get("replies.dropped", 0)
        assert (dropped == 0) == all_arrive
        for _ in range(requests - dropped):
            assert [len(reply.result.body) for reply in peer.receive()] == [BODY]
        assert cluster.stats("b0").get("replies.dropped", 0) == dropped
        assert peer.socket.poll(0) == 0
        assert peer.ping().broker == "b0"  # and it is served as before
    assert cluster.held()["messages"] == 0


def run_broker(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run a broker that is expected to refuse to start."""
    argv = [sys.executable, "-m", "broker", *flags]
    return subprocess.run(
        argv, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_second_broker_for_the_same_id_or_endpoint_is_refused(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    web = cluster.fronts[0].web
    web.subscribe("first", "ann")

    # The same run directory, and another one whose description names the same endpoint.
    other = folder / "cluster.toml"
    other.write_text(cluster.description.read_text())
    for flags in ({"run_dir": cluster.run_dir}, {"run_dir": folder / "run", "config": other}):
        second = run_broker("--id=b0", *flags_of(flags))
        assert second.returncode == 2
        lines = second.stderr.splitlines()
        assert len(lines) == 1
        assert "already in use" in lines[0]
        assert str(cluster.brokers["b0"].pid) in lines[0]
        assert web.publish("first", b"continues").headers["Msg-Subscribers"] == "1"
    assert web.drain("first", "ann") == [b"continues", b"continues"]


def test_a_stale_socket_file_is_no_problem(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    path = Path(cluster.map.endpoint("b0").removeprefix("ipc://"))
    for _ in range(2):
        cluster.brokers["b0"].kill()
        assert path.is_socket()
        cluster.start_broker("b0")
        cluster.await_ready()
    assert cluster.fronts[0].web.subscribe("stale", "ann").status == 200


def test_a_broker_of_another_name_or_cluster_is_refused(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    right = describe_local(1, cluster.run_dir)
    wrong = {
        "broker": right.replace('id = "b0"', 'id = "b9"'),
        "cluster": right.replace('name = "fanmail"', 'name = "elsewhere"'),
    }
    for kind, description in wrong.items():
        assert description != right
        path = folder / f"{kind}.toml"
        path.write_text(description)
        front = cluster.start_front(config=path)
        found = wait_for(lambda front=front: front.process.event(OTHER_BROKER), "the front to notice")
        assert found["found"] == "fanmail/b0"
        assert not front.ready(strict=False)
        answer = front.web.subscribe("misled", "ann")
        assert (answer.status, answer.code) == (503, "broker-down")
        front.forget()
    assert cluster.held()["topics"] == 0
    assert cluster.stats("b0")["errors.wrong-peer"] >= 2


@contextmanager
def fake_broker(cluster: Cluster) -> Iterator[FakeBroker]:
    """Replace the only broker of a cluster."""
    cluster.brokers["b0"].kill()
    fake = FakeBroker(cluster.map.endpoint("b0"))
    try:
        wait_for(lambda: fake.pings, "the front to find the broker")
        wait_for(cluster.fronts[0].ready, "the front to believe it")
        yield fake
    finally:
        fake.close()


def test_a_stuck_loop_behind_living_sockets_is_noticed(start_cluster: StartCluster) -> None:
    """Expect this from the application's PING, as ZeroMQ's own thread answers ZMTP heartbeats, which prove nothing."""
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"broker_timeout": 1.0})
    front = cluster.fronts[0]
    with fake_broker(cluster) as broker:
        assert front.web.take("t", "u").code == "outcome-unknown"
        broker.answering.clear()
        wait_for(lambda: not front.ready(), "the front to notice")
        assert front.web.take("t", "u").code == "broker-down"
        broker.answering.set()
        wait_for(front.ready, "the front to be ready again")
        assert broker.pings > 1


def test_a_request_is_sent_once(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"broker_timeout": 1.0})
    front = cluster.fronts[0]
    with fake_broker(cluster) as broker:
        assert front.web.publish("t", b"x").status == 504
        pings = broker.pings
        wait_for(lambda: broker.pings >= pings + 2, "two more seconds")
        assert broker.requests == [Op.PUBLISH]


def test_a_front_lives_through_answers_that_make_no_sense(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"broker_timeout": 1.0})
    front = cluster.fronts[0]
    clock = time.monotonic_ns() // 1000
    nonsense = [
        [b"\x93"],
        [b"", b"", b""],
        [wire.pack_replies(7, clock, 1, 1, [wire.pack_error(10**6, "internal", "of nobody's request")])],
        [wire.pack_replies(7, clock, 1, 1, [wire.pack_reply(0, ops.Published(1, "e", 1))])],
        [wire.pack_replies(7, clock, 99, 1, [])],
        [b"\xc1" * 100],
    ]
    with fake_broker(cluster) as broker:
        broker.instead = list(nonsense)
        wait_for(lambda: not broker.instead, "all of it to be sent")
        pings = broker.pings
        wait_for(lambda: broker.pings >= pings + 2)
        wait_for(front.ready, "the front to be ready")
    assert front.process.running


def test_a_new_incarnation_is_noticed_without_a_lost_connection(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.fronts[0]
    with fake_broker(cluster) as broker:
        broker.incarnation = 8
        why = "a new incarnation answers"
        wait_for(lambda: any(each.get("why") == why for each in front.process.events()), "the front to notice")
        wait_for(front.ready, "the front to be ready again")


def test_a_front_says_goodbye_when_it_has_all_its_answers(start_cluster: StartCluster) -> None:
    """Expect GOODBYE only then: a broker ends once every front has sent it.

    A DEALER with ZMQ_IMMEDIATE discards what it had received when its connection ends, so a reply in transit would be
    lost and become a 504.
    """
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"broker_timeout": PATIENCE})
    front = cluster.fronts[0]
    with fake_broker(cluster) as broker, ThreadPoolExecutor() as threads:
        broker.drains_on = Op.PUBLISH
        answer = threads.submit(front.web.publish, "t", b"x")
        wait_for(lambda: broker.requests, "the publish")
        pings = broker.pings
        wait_for(lambda: broker.pings >= pings + 2, "two more seconds")
        assert broker.requests == [Op.PUBLISH]
        broker.answer_the_rest()
        assert answer.result(PATIENCE).code == "draining"
        wait_for(lambda: broker.requests == [Op.PUBLISH, Op.GOODBYE], "the goodbye")
