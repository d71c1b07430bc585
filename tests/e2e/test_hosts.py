"""Three hosts: brokers on two, fronts and clients on the third, TCP with CURVE between them; and isolated hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Answer, Client, Cluster, wait_for
from tests.e2e.hosts import FRONTS, HostsCluster, Network, host_of, need_namespaces
from tests.e2e.test_core_calls import *  # noqa: F403
from tests.e2e.test_leases import *  # noqa: F403
from tests.e2e.test_messages import *  # noqa: F403
from tests.e2e.test_partitioning import *  # noqa: F403
from tests.e2e.test_publishing import *  # noqa: F403
from tests.e2e.test_reading import *  # noqa: F403

pytestmark = pytest.mark.slow

SOON = 15.0
"""Seconds until an isolated host is noticed, or is back; usually three to five."""
PAUSE = 0.01
"""Seconds between two publishes of one client."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Yield the network of this module, whose tests run on the host of the fronts."""
    need_namespaces()
    made = Network()
    try:
        with made.on(FRONTS):
            yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def _shared(network: Network) -> Iterator[Cluster]:
    """Replace the cluster that other tests share."""
    cluster = HostsCluster(network, brokers=2, fronts=2, front_settings={"idle_timeout": 3600})
    yield cluster
    cluster.close()


@pytest.fixture
def start_cluster(network: Network) -> Iterator[StartCluster]:
    """Replace the fixture that starts a cluster on one host."""
    clusters: list[Cluster] = []

    def start(*args: Any, **kwargs: Any) -> Cluster:
        clusters.append(HostsCluster(network, *args, **kwargs))
        return clusters[-1]

    yield start
    for cluster in clusters:
        print(cluster.about())
        cluster.close()


def test_brokers_and_fronts_are_on_hosts_of_their_own(cluster: Cluster) -> None:
    """Control of the tests above."""
    endpoints = [broker.endpoint for broker in cluster.map.brokers]
    assert [each.rpartition(":")[0] for each in endpoints] == ["tcp://10.77.0.1", "tcp://10.77.0.2"]
    assert all(broker.key for broker in cluster.map.brokers)
    with pytest.raises(ConnectionRefusedError):
        Client(int(endpoints[0].rpartition(":")[2])).call("GET", "/")


class Publisher(threading.Thread):
    """Publishes numbers to a topic, one after another, and remembers every response."""

    def __init__(self, port: int, topic: str) -> None:
        super().__init__()
        self._client, self._topic = Client(port), topic
        self._ends = threading.Event()
        self.answers: list[Answer] = []

    def run(self) -> None:
        while not self._ends.wait(PAUSE):
            self.answers.append(self._client.publish(self._topic, b"%d" % len(self.answers)))

    def next(self) -> Answer:
        """Return the response to the publish in progress, or to the one after it."""
        known = len(self.answers)
        wait_for(lambda: len(self.answers) > known, "an answer to a publish")
        return self.answers[known]

    def end(self) -> None:
        self._ends.set()
        self.join()

    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    def bodies(self, status: int) -> list[bytes]:
        return [b"%d" % number for number, answer in enumerate(self.answers) if answer.status == status]


def read_by_after(web: Client, topic: str, user: str, begin: str) -> tuple[list[bytes], str]:
    """Return all waiting messages, each asked for by the id of the previous one, and the last id."""
    bodies, last = [], begin
    while (answer := web.call("GET", f"/{topic}/{user}?after={last}")).status == 200:
        bodies.append(answer.body)
        last = answer.headers["Msg-Id"]
    assert answer.status == 204, answer
    return bodies, last


@pytest.mark.parametrize("cut", [Network.unplug, Network.isolate], ids=["no carrier", "packets dropped"])
def test_a_host_that_is_cut_off_and_comes_back(
    network: Network, start_cluster: StartCluster, cut: Callable[[Network, int], None]
) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    port, web = cluster.fronts[0].port, cluster.fronts[0].web
    lost, kept, quiet = cluster.topic("b0", "lost"), cluster.topic("b1", "kept"), cluster.topic("b1", "quiet")
    for topic in (lost, kept, quiet):
        assert web.subscribe(topic, "ann").status == 200
    polls: list[Answer] = []
    poll = threading.Thread(target=lambda: polls.append(Client(port).call("GET", f"/{quiet}/ann?wait=30")))
    poll.start()
    wait_for(lambda: cluster.stats("b1")["waiters"] == 1, "the long poll")
    publishers = {topic: Publisher(port, topic) for topic in (lost, kept)}
    for each in publishers.values():
        each.start()
    wait_for(lambda: all(len(each.answers) > 50 for each in publishers.values()), "some messages")
    read, last = read_by_after(web, lost, "ann", "0")

    cut(network, host_of("b0"))
    wait_for(lambda: publishers[lost].next().status == 503, "the front to notice", SOON)
    refused = web.subscribe(lost, "bob")
    assert (refused.status, refused.code) == (503, "broker-down")
    assert not cluster.fronts[0].ready()
    assert cluster.fronts[0].ready(strict=False)
    assert publishers[kept].next().status == 200
    assert cluster.brokers["b0"].running

    network.mend(host_of("b0"))
    wait_for(lambda: publishers[lost].next().status == 200, "the host to be back", SOON)
    for each in publishers.values():
        each.end()
    assert publishers[kept].statuses() == {200}, "the other broker's topics noticed nothing"
    assert publishers[lost].statuses() <= {200, 503, 504}
    assert 504 in publishers[lost].statuses(), "one was under way, and nobody knows what became of it"

    more, _ = read_by_after(web, lost, "ann", last)
    read += more
    assert len(set(read)) == len(read), "nothing is delivered twice"
    assert [each for each in read if each not in publishers[lost].bodies(504)] == publishers[lost].bodies(200)
    assert not set(read) & set(publishers[lost].bodies(503))
    assert read_by_after(web, kept, "ann", "0")[0] == publishers[kept].bodies(200)
    assert not polls, "the long poll of another broker's topic waits on"
    assert web.publish(quiet, b"at last").status == 200
    poll.join()
    assert [answer.body for answer in polls] == [b"at last"]


def test_a_short_cut_is_hardly_noticed(network: Network, start_cluster: StartCluster) -> None:
    """Expect delays or unknown outcomes but no losses, as TCP sends packets again."""
    cluster = start_cluster(brokers=2, fronts=1)
    web, topic = cluster.fronts[0].web, cluster.topic("b0", "blink")
    web.subscribe(topic, "ann")
    publisher = Publisher(cluster.fronts[0].port, topic)
    publisher.start()
    wait_for(lambda: len(publisher.answers) > 20, "some messages")
    network.isolate(host_of("b0"))
    time.sleep(0.5)  # the length of the cut
    network.mend(host_of("b0"))
    wait_for(lambda: publisher.next().status == 200, "the host to be back", SOON)
    publisher.end()
    read, _ = read_by_after(web, topic, "ann", "0")
    assert len(set(read)) == len(read)
    assert [each for each in read if each not in publisher.bodies(504)] == publisher.bodies(200)


def test_long_polls_of_a_host_that_is_cut_off_end_and_those_after_it_work(
    network: Network, start_cluster: StartCluster
) -> None:
    """Ask again, as a wait takes nothing: what it waited for is there when the host is."""
    cluster = start_cluster(brokers=2, fronts=1)
    port, web, topic = cluster.fronts[0].port, cluster.fronts[0].web, cluster.topic("b0", "waited")
    web.subscribe(topic, "ann")
    answers: list[Answer] = []
    poll = threading.Thread(target=lambda: answers.append(Client(port).call("GET", f"/{topic}/ann?wait=30")))
    poll.start()
    wait_for(lambda: cluster.stats("b0")["waiters"] == 1, "the long poll")
    network.isolate(host_of("b0"))
    wait_for(lambda: answers, "the wait to end", SOON)
    assert [(each.status, each.code) for each in answers] == [(503, "broker-down")]
    network.mend(host_of("b0"))
    wait_for(cluster.fronts[0].ready, "the host to be back", SOON)
    poll.join()
    assert web.publish(topic, b"after all").headers["Msg-Subscribers"] == "1"
    assert web.call("GET", f"/{topic}/ann?wait=5").body == b"after all"
