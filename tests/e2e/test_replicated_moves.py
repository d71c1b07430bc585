"""Slots move between replicated brokers, whoever dies meanwhile: the records of a move are entries of both logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from common.cluster.slots import slot_of
from common.protocol import move_ops as mv
from common.protocol.ops import Op
from tests.e2e.cluster import wait_for
from tests.e2e.replicated import ReplicatedCluster
from tests.support.nats_cluster import NatsCluster


@pytest.fixture
def cluster(nats: NatsCluster) -> Iterator[ReplicatedCluster]:
    made = ReplicatedCluster(nats, brokers=2)
    try:
        yield made
    finally:
        print(made.about())
        made.close()


def ask(cluster: ReplicatedCluster, broker: str, op: Op, args: Struct) -> Any:
    """Return the answer of the owner of a log; None where a frame without one comes first, as of a takeover."""
    try:
        with cluster.candidate(cluster.owner(broker)) as peer:
            answer = peer.ask(op, args=args)
    except IndexError:
        return None
    return answer if answer.code == "" else None


def owners(cluster: ReplicatedCluster, slot: int) -> list[str]:
    """Return the brokers that own a slot, once none of their moves is under way; [] until then."""
    found = []
    for broker in ("b0", "b1"):
        answer = ask(cluster, broker, Op.SLOTS, mv.ListSlots())
        if answer is None or any(row.state not in ("left", "refused") for row in answer.result.moves):
            return []
        found += [broker for run in answer.result.owned if run.first <= slot <= run.last]
    return found


def move(cluster: ReplicatedCluster, slot: int, source: str, target: str) -> None:
    wait_for(lambda: ask(cluster, source, Op.MOVE, mv.MoveSlot(slot, target)), "a move to begin")


def publish(cluster: ReplicatedCluster, topic: str, body: bytes) -> None:
    """Publish with a key, until it is answered with 200."""
    web, headers = cluster.fronts[0].web, {"Idempotency-Key": body.decode()}
    wait_for(lambda: web.publish(topic, body, headers).status == 200, "a publish to succeed")


@pytest.mark.slow
def test_a_slot_moves_between_replicated_brokers_and_owners_that_die(cluster: ReplicatedCluster) -> None:
    web = cluster.fronts[0].web
    topic = next(name for name in (f"t{n}" for n in range(99)) if cluster.map.owner(name.encode()) == "b0")
    slot, bodies = slot_of(topic.encode()), [b"%d" % number for number in range(30)]
    web.subscribe(topic, "u")
    for body in bodies[:10]:
        publish(cluster, topic, body)
    move(cluster, slot, "b0", "b1")
    wait_for(lambda: owners(cluster, slot) == ["b1"], "the slot to arrive")
    for body in bodies[10:20]:
        publish(cluster, topic, body)

    source = cluster.owner("b1")
    move(cluster, slot, "b1", "b0")
    cluster.candidates[source].kill()
    (now,) = wait_for(lambda: owners(cluster, slot), "the next owner of b1 to have asked")
    target = cluster.owner("b0")
    move(cluster, slot, now, "b1" if now == "b0" else "b0")
    cluster.candidates[target].kill()
    assert len(wait_for(lambda: owners(cluster, slot), "the next owner of b0 to have answered")) == 1
    for body in bodies[20:]:
        publish(cluster, topic, body)
    assert web.drain(topic, "u") == bodies
