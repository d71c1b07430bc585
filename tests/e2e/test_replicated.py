"""Brokers on a replicated log, with real NATS servers: whoever dies, what was acknowledged is there."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from common.process.start import AGAIN
from common.protocol import ops
from common.protocol.ops import Op
from tests.e2e.cluster import PATIENCE, Client, wait_for
from tests.e2e.replicated import ReplicatedCluster, subscribed
from tests.support.nats_cluster import NatsCluster

TIMEOUT = 2.0
"""Of a call, seconds."""


@pytest.fixture
def cluster(nats: NatsCluster) -> Iterator[ReplicatedCluster]:
    with subscribed(ReplicatedCluster(nats, front_settings={"broker_timeout": TIMEOUT})) as made:
        yield made


def publish(web: Client, body: bytes) -> bool:
    """Publish with a key, until it is answered with 200; return whether it had to be repeated."""
    headers = {"Idempotency-Key": body.decode()}
    answers = []

    def done() -> bool:
        answers.append(web.publish("t", body, headers).status)
        assert answers[-1] in (200, 503, 504)
        return answers[-1] == 200

    wait_for(done, "a publish to succeed")
    return len(answers) > 1


def publish_through(cluster: ReplicatedCluster, harm: Callable[[], object]) -> list[bytes]:
    """Publish; do the harm after some messages, and go on. Return the bodies in order."""
    bodies = [b"%d" % number for number in range(30)]
    for number, body in enumerate(bodies):
        if number == 10:
            harm()
        publish(cluster.fronts[0].web, body)
    return bodies


def same_state(cluster: ReplicatedCluster) -> bool:
    """Whether both candidates have the same, which a digest in the log has confirmed, too."""
    owner, standby = (cluster.replica(name) for name in (cluster.owner(), cluster.standby()))
    return standby.number >= owner.number - 1 and standby.term == owner.term


def test_a_killed_owner_is_replaced_and_comes_back_as_a_standby(cluster: ReplicatedCluster) -> None:
    first = cluster.owner()
    bodies = publish_through(cluster, cluster.candidates[first].kill)
    second = cluster.owner()
    assert second != first
    cluster.start_broker(first)
    wait_for(lambda: cluster.replica(first).others and same_state(cluster), "the killed one to follow")
    bodies += [b"again-%s" % each for each in bodies]
    for body in bodies[30:]:
        publish(cluster.fronts[0].web, body)
    cluster.candidates[second].kill()
    assert cluster.owner() == first
    wait_for(cluster.fronts[0].ready, "the front to find it")
    assert cluster.fronts[0].web.drain("t", "u") == bodies


def test_a_hand_over_loses_nothing(cluster: ReplicatedCluster) -> None:
    first, second = cluster.owner(), cluster.standby()

    def hand_over() -> None:
        with cluster.candidate(first) as peer:
            assert peer.ask(Op.HAND_OVER, args=ops.HandOver("b0@nowhere")).code == "handover-failed"
            wait_for(lambda: peer.ask(Op.HAND_OVER, args=ops.HandOver(second)).code == "", "the standby to be known")
        assert cluster.candidates[first].popen.wait(PATIENCE) == AGAIN

    bodies = publish_through(cluster, hand_over)
    assert cluster.owner() == second
    assert cluster.replica(second).term == 2
    assert cluster.fronts[0].web.drain("t", "u") == bodies


@pytest.mark.slow
def test_an_owner_that_stops_gives_the_log_to_the_standby(cluster: ReplicatedCluster) -> None:
    first = cluster.owner()
    wait_for(lambda: cluster.replica(first).others, "the standby to report")
    bodies = publish_through(cluster, cluster.candidates[first].terminate)
    assert cluster.candidates[first].popen.returncode == 0
    assert cluster.owner() != first
    assert cluster.fronts[0].web.drain("t", "u") == bodies


@pytest.mark.slow
def test_an_owner_that_hangs_is_deposed_and_answers_nothing(cluster: ReplicatedCluster) -> None:
    first = cluster.owner()
    process = cluster.candidates[first]
    bodies = publish_through(cluster, lambda: process.signal(signal.SIGSTOP))
    process.signal(signal.SIGCONT)
    assert process.popen.wait(PATIENCE) == AGAIN, "it notices with its next append"
    assert cluster.owner() != first
    assert cluster.fronts[0].web.drain("t", "u") == bodies


@pytest.mark.slow
def test_without_nats_nothing_is_executed_and_it_goes_on_by_itself(
    cluster: ReplicatedCluster, nats: NatsCluster
) -> None:
    web, first = cluster.fronts[0].web, cluster.owner()
    publish(web, b"1")
    for node in range(len(nats.nodes)):
        nats.kill(node)
    wait_for(lambda: web.publish("t", b"lost").code in ("log-stalled", "broker-down"), "the log to stall")
    assert web.take("t", "u").status == 503
    assert cluster.replica(first).role == "owner"
    nats.restore()
    publish(web, b"2")
    kept = cluster.fronts[0].web.drain("t", "u")
    assert [each for each in kept if each != b"lost"] == [b"1", b"2"]


def test_a_copy_of_the_store_is_read_over_the_wire(cluster: ReplicatedCluster) -> None:
    publish(cluster.fronts[0].web, b"kept")
    name = cluster.standby()
    with cluster.candidate(name) as peer:
        args = ops.Backup("backup-seed.db")
        assert peer.ask(Op.BACKUP_READ, args=ops.ReadBackup(args.name, 0, 10)).code == "backup-failed"
        wait_for(lambda: peer.ask(Op.BACKUP, args=args).result.done, "the copy")
        first = peer.ask(Op.BACKUP_READ, args=ops.ReadBackup(args.name, 0, 100)).result
        assert first.data.startswith(b"SQLite format 3")
        last = peer.ask(Op.BACKUP_READ, args=ops.ReadBackup(args.name, first.size - 1, 100)).result
        assert len(last.data) == 1
