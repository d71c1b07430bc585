"""A front and the two candidates of a broker on a replicated log: which of them it uses, and what clients see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common.protocol import log_stats, ops
from common.protocol.ops import Op
from common.protocol.wire import BrokerState
from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Front, wait_for
from tests.e2e.fake_broker import FakeBroker

HOSTS = ("h1", "h2")
TIMEOUT = 1.0
PUBLISHED = ops.Published(1, "0badcafe1", 1)


@pytest.fixture
def pair(folder: Path) -> Iterator[dict[str, FakeBroker]]:
    """Candidates of b0 that follow the log."""
    fakes = {host: FakeBroker(f"ipc://{folder}/{host}.sock", BrokerState.STANDBY) for host in HOSTS}
    yield fakes
    for fake in fakes.values():
        fake.close()


def describe(folder: Path, hosts: tuple[str, ...] = HOSTS, epoch: int = 1) -> Path:
    rows = ", ".join(f'{{host = "{host}", endpoint = "ipc://{folder}/{host}.sock"}}' for host in hosts)
    path = folder / "candidates.toml"
    path.write_text(f'[cluster]\nepoch = {epoch}\n[[brokers]]\nid = "b0"\ncandidates = [{rows}]\n')
    return path


@pytest.fixture
def front(folder: Path, start_cluster: StartCluster) -> Front:
    return start_cluster(brokers=1, fronts=0).start_front(config=describe(folder), broker_timeout=TIMEOUT)


def candidates(front: Front) -> dict[str, dict[str, Any]]:
    """What the admin API says of each."""
    (broker,) = json.loads(Client(front.ops_port).call("GET", "/-/v1/brokers").body)["brokers"]
    return {each["host"]: each for each in broker["candidates"]}


def published_to(fake: FakeBroker) -> int:
    return fake.requests.count(Op.PUBLISH)


def test_requests_go_to_the_owner_of_the_greatest_term(pair: dict[str, FakeBroker], front: Front) -> None:
    first, second = (pair[host] for host in HOSTS)
    first.answers = second.answers = {Op.PUBLISH: PUBLISHED}
    wait_for(lambda: [each["state"] for each in candidates(front).values()] == ["standby"] * 2, "both standbys")
    nobody = front.web.publish("t", b"x")
    assert (nobody.status, nobody.code, nobody.headers["Retry-After"]) == (503, "broker-down", "1")
    assert b"h1" not in nobody.body, "hosts are no business of clients"
    assert not front.ready(strict=False)

    first.take_over(1)
    wait_for(front.ready, "the front to find the owner")
    assert front.web.publish("t", b"x").status == 200
    first.stats = {log_stats.POSITION: 12, log_stats.TERM: 1}
    second.stats = {log_stats.POSITION: 9, log_stats.TERM: 1}
    seen = candidates(front)
    assert [(each["state"], each["lag"]) for each in seen.values()] == [("owner", 0), ("standby", 3)]
    text = Client(front.ops_port).call("GET", "/metrics/brokers").body.decode()
    assert 'fanmail_log_position{broker="b0",host="h2"} 9.0' in text
    assert 'fanmail_topics{broker="b0"}' in text
    text = Client(front.ops_port).call("GET", "/metrics").body.decode()
    assert 'fanmail_candidate_owner{broker="b0",host="h1"} 1.0' in text
    assert 'fanmail_candidate_up{broker="b0",host="h2"} 1.0' in text

    assert json.loads(front.web.call("GET", "/readyz").body)["unproven"] == []
    second.unproven = True
    wait_for(lambda: json.loads(front.web.call("GET", "/readyz").body)["unproven"] == ["b0"], "the front to hear it")

    second.take_over(2)  # the first one does not know it, and still says that it is ready
    wait_for(lambda: front.web.publish("t", b"x").status == 200 and published_to(second), "the new owner")
    before = published_to(first)
    assert all(front.web.publish("t", b"x").status == 200 for _ in range(5))
    assert published_to(first) == before
    assert candidates(front)["h1"]["state"] == "standby"

    second.close()  # its successor is not there yet: the deposed one is not asked again
    wait_for(lambda: not front.ready(), "the front to notice")
    pings = first.pings
    wait_for(lambda: first.pings > pings + 1, "the deposed one to say that it is ready")
    assert front.web.publish("t", b"x").code == "broker-down"
    assert published_to(first) == before
    first.take_over(3)
    wait_for(lambda: front.web.publish("t", b"x").status == 200, "the deposed one to own the log again")


def test_a_host_is_replaced_and_the_terms_stay_known(pair: dict[str, FakeBroker], front: Front, folder: Path) -> None:
    first, second = (pair[host] for host in HOSTS)
    first.answers = {Op.PUBLISH: PUBLISHED}
    second.term = 5  # it has seen the term of an owner that is not there any more
    first.take_over(5)
    wait_for(front.ready, "the front to find the owner")
    pair["h3"] = third = FakeBroker(f"ipc://{folder}/h3.sock", BrokerState.STANDBY)
    third.answers = first.answers
    describe(folder, ("h1", "h3"), epoch=2)
    wait_for(lambda: candidates(front).keys() == {"h1", "h3"}, "the front to take the description")
    assert front.web.publish("t", b"x").status == 200, "the connection to the owner was kept"
    third.take_over(4)  # a term that is over
    pings = third.pings
    wait_for(lambda: third.pings > pings + 1, "the front to hear of it")
    assert candidates(front)["h3"]["state"] == "standby"
    third.take_over(6)
    wait_for(lambda: front.web.publish("t", b"x").status == 200 and published_to(third), "the new host to be used")


def test_long_polls_at_a_former_owner_end_at_once_and_calls_at_their_time(
    pair: dict[str, FakeBroker], front: Front
) -> None:
    first, second = (pair[host] for host in HOSTS)
    first.answers = {Op.TAKE: None}
    first.take_over(1)
    wait_for(front.ready, "the front to find the owner")
    with ThreadPoolExecutor() as threads:
        lost = threads.submit(front.client().publish, "t", b"x")
        poll = threads.submit(front.client().call, "GET", "/t/u?wait=30")
        wait_for(lambda: published_to(first), "the publish")
        wait_for(lambda: Op.WAIT in first.requests, "the poll")
        second.answers = {Op.PUBLISH: PUBLISHED, Op.TAKE: None}
        second.take_over(2)
        wait_for(lambda: front.client().publish("t", b"x").status == 200, "the new owner")
        assert (lost.result().status, lost.result().code) == (504, "outcome-unknown")
        assert poll.result().status == 204
