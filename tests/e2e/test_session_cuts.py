"""Sessions that are cut, and brokers and fronts that are killed under them: nothing is lost, and the order stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from common.cluster.slots import slot_of
from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, Front, wait_for
from tests.support.web_socket import WebSocket

PUBLISHES, IN_FLIGHT, FAULTS = 1500, 200, 2
MESSAGES, READ, DONE = 60, 9, 6
"""Messages, how many of them a session reads until it is cut, and how many of those it acknowledges."""


def publish_all(port: int, progress: list[dict[str, Any]]) -> None:
    """Publish numbers, many at a time and each once; note the answers as they come."""
    with WebSocket(port) as socket:
        sent = 0
        while len(progress) < PUBLISHES:
            while sent < PUBLISHES and sent - len(progress) < IN_FLIGHT:
                socket.op("publish", topic="order", text=str(sent), ref=sent)
                sent += 1
            progress.append(socket.next())


def read_all(port: int, topic: str, user: str) -> list[str]:
    texts = []
    with WebSocket(port, f"/{topic}/{user}?mode=take") as socket:
        socket.sock.settimeout(1.0)
        try:
            while True:
                texts.append(socket.next()["text"])
        except TimeoutError:
            return texts


@pytest.mark.slow
def test_the_order_of_publishes_survives_the_death_of_their_broker(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)

    def kill() -> None:
        cluster.kill_broker("b0")
        cluster.await_ready()

    stored, numbers = publish_with_faults(cluster.fronts[0], kill)
    assert set(stored) <= set(numbers)


@pytest.mark.slow
def test_the_order_of_publishes_survives_moves_and_nobody_sees_an_error(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, durable=True)
    front, ops, slot = cluster.fronts[0], Client(cluster.fronts[0].ops_port), slot_of(b"order")

    def move() -> None:
        to = "b1" if owner_of(ops, slot) == "b0" else "b0"
        assert ops.call("PUT", f"/-/v1/slots/{slot}/move?to={to}").status == 200
        wait_for(lambda: owner_of(ops, slot) == to, "the move")

    stored, numbers = publish_with_faults(front, move)
    assert stored == numbers == list(range(PUBLISHES))


def owner_of(ops: Client, slot: int) -> str:
    owner: str = json.loads(ops.call("GET", f"/-/v1/slots/{slot}/move").body)["owner"]
    return owner


def publish_with_faults(front: Front, fault: Callable[[], object]) -> tuple[list[int], list[int]]:
    """Publish all, with faults in between. Return what was answered ok, and what was stored, after checks of both."""
    front.web.subscribe("order", "ann")
    progress: list[dict[str, Any]] = []
    thread = threading.Thread(target=publish_all, args=(front.port, progress))
    thread.start()
    for number in range(FAULTS):
        due = PUBLISHES * (number + 1) // (FAULTS + 2)
        wait_for(lambda due=due: len(progress) >= due, f"{due} answers")  # type: ignore[misc]
        fault()
    thread.join()
    return judged(front, progress)


def judged(front: Front, progress: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Return what was answered ok, and what was stored, after checks of the order."""
    assert [answer["ref"] for answer in progress] == list(range(PUBLISHES)), "answered in order"
    refused = {answer["status"] for answer in progress if answer["op"] == "error"}
    assert refused <= {503, 504}
    numbers = [int(text) for text in read_all(front.port, "order", "ann")]
    assert numbers == sorted(set(numbers)), "executed in order, and once"
    stored = [answer["ref"] for answer in progress if answer["op"] == "ok"]
    assert stored
    return stored, numbers


def cut_often(cluster: Cluster, mode: str) -> tuple[list[int], list[int]]:
    """Read with sessions that are cut; return the numbers that were acknowledged, and the first one of each session."""
    done: list[int] = []
    firsts: list[int] = []
    while len(done) < MESSAGES:
        port = cluster.fronts[len(firsts) % len(cluster.fronts)].port
        with WebSocket(port, f"/cut/{mode}?mode={mode}{'&lease=600' if mode == 'lease' else ''}") as socket:
            found = [socket.next() for _ in range(min(READ, MESSAGES - len(done)))]
            firsts.append(int(found[0]["text"]))
            acknowledged = found[:DONE]
            if mode == "after":
                assert socket.ask("ack", topic="cut", user=mode, id=acknowledged[-1]["id"])["op"] == "ok"
            else:
                for each in acknowledged:
                    assert socket.ask("ack", topic="cut", user=mode, receipt=each["receipt"])["op"] == "ok"
            done += [int(each["text"]) for each in acknowledged]
        if len(firsts) == 3:
            cluster.kill_broker("b0")
            cluster.await_ready()
    return done, firsts


@pytest.mark.parametrize("mode", ["after", "lease"])
def test_only_what_was_not_acknowledged_comes_again(start_cluster: StartCluster, mode: str) -> None:
    cluster = start_cluster(brokers=1, fronts=2, durable=True)
    web = cluster.fronts[0].web
    web.subscribe("cut", mode)
    web.call("POST", "/cut?batch=lines", "\n".join(map(str, range(MESSAGES))).encode())
    done, firsts = cut_often(cluster, mode)
    assert sorted(done) == list(range(MESSAGES)), "none lost, none acknowledged twice"
    assert done == sorted(done), "what was given back comes first"
    assert firsts == list(range(0, MESSAGES, DONE))
    head = web.call("HEAD", f"/cut/{mode}").headers
    assert (head["Msg-Pending"], head["Msg-Leased"]) == ("0", "0")
