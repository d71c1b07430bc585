"""What is there after kill -9 of a durable broker, over HTTP: each thing once; and the responses while it loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Answer, Client, Cluster, Front, wait_for
from tests.support.faulty_store import Point

pytestmark = pytest.mark.slow


class Durable:
    """One broker and one front."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.front: Front = cluster.fronts[0]
        self.web: Client = self.front.web

    def kill(self) -> None:
        """Send SIGKILL to the broker, and wait until it is back."""
        self.cluster.kill_broker("b0")
        wait_for(self.front.ready, "the broker to be back")

    def lease(self, seconds: float = 3600, wait: float = 0) -> Answer:
        return self.web.call("GET", f"/t/ann?lease={seconds}&wait={wait}")

    def status(self) -> tuple[str, ...]:
        """Return the numbers of pending, leased and dead messages."""
        headers = self.web.call("HEAD", "/t/ann").headers
        return tuple(headers[name] for name in ("Msg-Pending", "Msg-Leased", "Msg-Dead"))


@pytest.fixture
def server(start_cluster: StartCluster) -> Durable:
    """Return a server on which ann is subscribed to t."""
    server = Durable(start_cluster(brokers=1, fronts=1, durable=True))
    server.web.subscribe("t", "ann")
    return server


def test_subscriptions_messages_and_positions(server: Durable) -> None:
    web = server.web
    web.subscribe("t", "bob")
    web.call("POST", "/t?batch=lines", b"1\n2\n3", {"Content-Type": "text/plain", "Meta-A": "x"})
    web.publish("t", b"4")
    first = web.take("t", "ann")
    web.unsubscribe("t", "bob")
    server.kill()
    assert web.take("t", "bob").code == "no-subscription"
    assert web.subscribe("t", "ann").headers["Subscription-Created"] == "false"
    second = web.take("t", "ann")
    epoch = first.headers["Msg-Id"].rpartition("-")[0]
    assert (second.body, second.headers["Msg-Id"]) == (b"2", f"{epoch}-2")
    assert (second.headers["Content-Type"], second.headers["Meta-A"]) == ("text/plain", "x")
    assert web.drain("t", "ann") == [b"3", b"4"]
    assert web.publish("t", b"5").headers["Msg-Id"] == f"{epoch}-5"


def test_a_cursor(server: Durable) -> None:
    web = server.web
    ids = [web.publish("t", b"%d" % n).headers["Msg-Id"] for n in range(4)]
    assert web.call("GET", f"/t/ann?after={ids[1]}").body == b"2"
    server.kill()
    assert web.call("GET", "/t/ann?after=0").body == b"2", "what was confirmed stays so"
    assert web.call("GET", f"/t/ann?after={ids[2]}").body == b"3"
    assert web.call("GET", f"/t/ann?after={ids[3]}").status == 204


def test_an_empty_topic_goes_on_with_its_numbers(server: Durable) -> None:
    web = server.web
    last = web.publish("t", b"x").headers["Msg-Id"]
    assert web.drain("t", "ann") == [b"x"]
    server.kill()
    epoch, _, seq = web.publish("t", b"y").headers["Msg-Id"].rpartition("-")
    assert f"{epoch}-{int(seq) - 1}" == last
    assert web.call("GET", f"/t/ann?after={last}").body == b"y"


def test_settings(server: Durable) -> None:
    server.web.call("PATCH", "/t/ann?max_deliveries=2")
    server.web.subscribe("u", "ann")
    server.web.call("PATCH", "/u/ann?expires_after=1")
    server.web.publish("t", b"x")
    server.kill()
    for attempt in ("1", "2"):
        leased = server.lease()
        assert leased.headers["Msg-Attempt"] == attempt
        server.web.call("PATCH", f"/t/ann/{leased.headers['Msg-Receipt']}?lease=0")
    assert server.status() == ("0", "0", "1")
    wait_for(lambda: server.web.call("HEAD", "/u/ann").status == 404, "the subscription to expire")


def test_leases_with_their_attempts_and_receipts(server: Durable) -> None:
    web = server.web
    for body in (b"1", b"2", b"3"):
        web.publish("t", body)
    given_back = server.lease().headers["Msg-Receipt"]
    web.call("PATCH", f"/t/ann/{given_back}?lease=0")
    again, kept, done = server.lease(), server.lease(), server.lease()
    assert [(each.body, each.headers["Msg-Attempt"]) for each in (again, kept)] == [(b"1", "2"), (b"2", "1")]
    web.call("DELETE", f"/t/ann/{done.headers['Msg-Receipt']}")
    server.kill()
    assert server.status() == ("0", "2", "0")
    assert server.lease().status == 204, "an hour has not passed"
    assert web.call("DELETE", f"/t/ann/{given_back}").code == "lease-lost"
    assert web.call("DELETE", f"/t/ann/{again.headers['Msg-Receipt']}").status == 200
    web.call("PATCH", f"/t/ann/{kept.headers['Msg-Receipt']}?lease=0")
    assert server.lease().headers["Msg-Attempt"] == "2"


def test_the_time_that_leases_have_left(server: Durable) -> None:
    """Expect that the longer lease outlives the shorter one, that both end, and that a very long one does not."""
    for body in (b"long", b"short", b"longest"):
        server.web.publish("t", body)
    assert server.lease(8).body == b"long"
    assert server.lease(1).body == b"short"
    assert server.lease(3600).body == b"longest"
    server.kill()
    back = [server.lease(3600, wait=20) for _ in range(2)]
    assert [(each.body, each.headers["Msg-Attempt"]) for each in back] == [(b"short", "2"), (b"long", "2")]
    assert server.status() == ("0", "3", "0")


def test_a_message_that_was_given_back_for_later(server: Durable) -> None:
    server.web.publish("t", b"x")
    receipt = server.lease().headers["Msg-Receipt"]
    server.web.call("PATCH", f"/t/ann/{receipt}?lease=0&delay=1")
    server.kill()
    found = server.lease(wait=20)
    assert (found.body, found.headers["Msg-Attempt"]) == (b"x", "2")


def test_dead_letters(server: Durable) -> None:
    web = server.web
    web.call("PATCH", "/t/ann?max_deliveries=1")
    for body in (b"1", b"2"):
        web.publish("t", body)
        web.call("PATCH", f"/t/ann/{server.lease().headers['Msg-Receipt']}?lease=0")
    server.kill()
    lines = web.call("GET", "/t/ann/dead").body.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["1", "2"]
    assert web.call("POST", "/t/ann/dead").headers["Msg-Count"] == "2"
    server.kill()
    assert server.status() == ("2", "0", "0")
    assert web.drain("t", "ann") == [b"1", b"2"]
    server.kill()
    assert server.status() == ("0", "0", "0")


def test_delayed_publishes(server: Durable) -> None:
    web = server.web
    soon = web.publish("t?delay=1", b"soon")
    web.publish("t?delay=3600", b"later")
    assert "Msg-Due" in soon.headers
    server.kill()
    assert web.call("GET", "/t/ann?wait=20").body == b"soon"
    assert server.cluster.stats("b0")["delayed"] == 1


def test_what_lives_for_a_while(server: Durable) -> None:
    web = server.web
    web.publish("t?ttl=1", b"short")
    web.publish("t?ttl=3600", b"long")
    server.kill()
    wait_for(lambda: server.status()[0] == "1", "the first to expire")
    assert web.drain("t", "ann") == [b"long"]


def test_idempotency_keys(server: Durable) -> None:
    web = server.web
    first = web.publish("t", b"x", {"Idempotency-Key": "k"})
    later = web.publish("t?delay=3600", b"y", {"Idempotency-Key": "l"})
    server.kill()
    again = web.publish("t", b"x", {"Idempotency-Key": "k"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Msg-Id"] == first.headers["Msg-Id"]
    assert web.publish("t", b"z", {"Idempotency-Key": "k"}).code == "key-reused"
    assert web.publish("t?delay=3600", b"y", {"Idempotency-Key": "l"}).headers["Msg-Due"] == later.headers["Msg-Due"]
    assert web.drain("t", "ann") == [b"x"]
    assert server.cluster.stats("b0")["delayed"] == 1


def test_while_a_broker_loads_its_topics_are_refused_and_others_are_not(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(brokers=2, fronts=1, durable=True)
    front, web = cluster.fronts[0], cluster.fronts[0].web
    mine, other = cluster.topic("b0", "mine"), cluster.topic("b1", "other")
    for topic in (mine, other):
        web.subscribe(topic, "ann")
        web.publish(topic, b"kept")
    gate = tmp_path / "loading"
    gate.touch()
    cluster.brokers["b0"].kill()
    process = cluster.start_broker("b0", "tests.support.faulty_broker", Point.SLOW, str(gate))
    wait_for(lambda: web.take(mine, "ann").code == "loading", "the broker to be loading")
    for answer in (web.publish(mine, b"x"), web.subscribe(mine, "bob"), web.unsubscribe(mine, "ann")):
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "loading", "1")
    assert web.drain(other, "ann") == [b"kept"]
    strict = web.call("GET", "/readyz?strict=1")
    assert (strict.status, json.loads(strict.body)["missing"]) == (503, ["b0"])
    assert front.ready(strict=False)
    assert process.event("serving") is None
    gate.unlink()
    wait_for(front.ready, "the broker to have loaded")
    assert web.drain(mine, "ann") == [b"kept"]


def test_sigterm_while_it_loads_ends_it(start_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    web = cluster.fronts[0].web
    web.subscribe("t", "ann")
    web.publish("t", b"kept")
    gate = tmp_path / "loading"
    gate.touch()
    cluster.brokers["b0"].kill()
    process = cluster.start_broker("b0", "tests.support.faulty_broker", Point.SLOW, str(gate))
    wait_for(lambda: web.take("t", "ann").code == "loading", "the broker to be loading")
    process.popen.terminate()
    gate.unlink()
    assert process.popen.wait(30) == 0, process.about()
    cluster.start_broker("b0")
    wait_for(cluster.fronts[0].ready, "the broker to be back")
    assert web.drain("t", "ann") == [b"kept"]
