"""What is lost beside candidates and servers: entries of a log, the disk of a NATS server, the room in a log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.replica.jetstream import api
from broker.replica.jetstream.streams import Streams, ask
from tests.e2e import replicated
from tests.e2e.cluster import Client, wait_for
from tests.e2e.replicated import LOG_BYTES, ReplicatedCluster, subscribed
from tests.e2e.test_replicated import publish
from tests.support.nats_cluster import FORMER_VERSION, VERSION, NatsCluster

pytestmark = pytest.mark.slow

SETTINGS = {"broker_timeout": 2.0}
LONG_S = 90.0
"""A log is behind for 15 s before it is lost, its settings are looked at every 10 s, and it is purged every 30 s."""
LEFT = 4
"""Entries that an old backup of a log has."""


@pytest.fixture
def cluster(nats: NatsCluster) -> Iterator[ReplicatedCluster]:
    with subscribed(ReplicatedCluster(nats, front_settings=SETTINGS)) as made:
        yield made


def whole(cluster: ReplicatedCluster, nats: NatsCluster) -> None:
    """Wait until every server has the log."""
    wait_for(lambda: nats.whole(cluster.logs["b0"].stream), "the log to be whole", LONG_S)


def bodies_of(cluster: ReplicatedCluster, *bodies: bytes) -> list[bytes]:
    """Publish; return the bodies."""
    for body in bodies:
        publish(cluster.fronts[0].web, body)
    return list(bodies)


def test_a_log_that_went_back_is_continued_by_nobody(cluster: ReplicatedCluster) -> None:
    bodies_of(cluster, *(b"%d" % number for number in range(5)))
    name = cluster.logs["b0"]
    for candidate, process in cluster.candidates.items():
        wait_for(lambda candidate=candidate: cluster.replica(candidate).position > LEFT, f"{candidate} to read more")
        assert process.terminate() == 0

    async def go_back(streams: Streams) -> None:
        """Put a part of the log in the place of the log, as an old backup of NATS would."""
        entries = []
        for position in range(1, 5):
            answer = await streams.client.request(api.GET + name.stream, api.encode({"seq": position}))
            entries.append(api.decode(api.Got, answer.data).message.data)
        await streams.delete(name)
        await streams.create(name, LOG_BYTES, 3)
        for entry in entries:
            await streams.client.request(name.subject, entry, timeout=10)

    ask(cluster.access, go_back)
    cluster.start_broker("b0")
    for process in cluster.candidates.values():
        wait_for(lambda process=process: not process.running, "the candidates to stop", LONG_S)
        assert process.popen.returncode == 1
        (line,) = [each for each in process.events() if each["level"] == "critical"]
        assert f"the log ends at {LEFT}, and this candidate has read it up to" in line["reason"]
    assert cluster.fronts[0].web.publish("t", b"lost").code == "broker-down"


def test_a_server_whose_disk_is_lost_gets_everything_from_the_others(
    cluster: ReplicatedCluster, nats: NatsCluster
) -> None:
    bodies = bodies_of(cluster, b"1", b"2")
    leader = nats.leader_of(cluster.logs["b0"].stream)
    assert leader is not None
    nats.kill(leader)
    nats.wipe(leader)
    bodies += bodies_of(cluster, b"3")
    nats.restore()
    whole(cluster, nats)
    nats.kill((leader + 1) % 3)  # the one that was lost is needed now
    bodies += bodies_of(cluster, b"4")
    cluster.candidates[cluster.owner()].kill()
    bodies += bodies_of(cluster, b"5")
    assert cluster.fronts[0].web.drain("t", "u") == bodies


def test_a_full_log_refuses_publishing_and_nothing_else_until_it_is_purged(
    nats: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicated, "LOG_BYTES", 2**23)
    cluster = ReplicatedCluster(nats, front_settings=SETTINGS)
    try:
        web = cluster.fronts[0].web
        assert [web.subscribe("t", user).status for user in ("u", "v")] == [200, 200]
        bodies: list[bytes] = []

        def filled() -> str:
            body = b"%-100000d" % len(bodies)
            answer = web.publish("t", body)
            bodies.extend([body] if answer.status == 200 else [])
            return answer.code if answer.status != 200 else ""

        assert wait_for(filled, "the log to be full") == "storage-full"
        assert web.take("t", "u").body == bodies[0]
        assert web.unsubscribe("t", "v").status == 200
        publish_until_stored(web, bodies)
        assert web.drain("t", "u") == bodies[1:]
    finally:
        print(cluster.about())
        cluster.close()


def publish_until_stored(web: Client, bodies: list[bytes]) -> None:
    wait_for(lambda: web.publish("t", b"last").status == 200, "the purge", LONG_S)
    bodies.append(b"last")


def test_servers_of_two_versions_work_together_and_are_upgraded_one_by_one() -> None:
    versions = [FORMER_VERSION, FORMER_VERSION, VERSION]
    nats = NatsCluster(version=versions)
    try:
        cluster = ReplicatedCluster(nats, front_settings=SETTINGS)
        try:
            cluster.fronts[0].web.subscribe("t", "u")
            bodies = bodies_of(cluster, b"mixed")
            for number in (0, 1):
                nats.kill(number)
                nats.nodes[number].version = VERSION
                bodies += bodies_of(cluster, b"without-%d" % number)
                nats.restore()
                whole(cluster, nats)
                cluster.candidates[cluster.owner()].kill()
                bodies += bodies_of(cluster, b"upgraded-%d" % number)
                cluster.start_broker(cluster.standby())
            assert cluster.fronts[0].web.drain("t", "u") == bodies
        finally:
            print(cluster.about())
            cluster.close()
    finally:
        print(nats.about())
        nats.close()
