"""Nothing that arrives at a broker's endpoint ends its loop or changes anything."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import msgspec
import pytest

from common.protocol import wire
from common.protocol.ops import Nothing, Op, Ping, Publish
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, wait_for

SEED = 20
HELLO = b"\xff" + bytes(8) + b"\x7f"  # the signature with which ZMTP begins (its specification 3.1)


@pytest.fixture
def target(start_cluster: StartCluster) -> Cluster:
    cluster = start_cluster(brokers=1, fronts=1)
    cluster.fronts[0].web.subscribe("fuzz", "ann")
    return cluster


def assert_serving(cluster: Cluster) -> None:
    """Assert that the broker is the same process, holds what it held, and works."""
    assert cluster.brokers["b0"].running
    web = cluster.fronts[0].web
    assert web.publish("fuzz", b"alive").headers["Msg-Subscribers"] == "1"
    assert web.drain("fuzz", "ann") == [b"alive"]
    assert cluster.held() == {"topics": 1, "subscriptions": 1, "messages": 0, "content_bytes": 0}


def almost_right(rng: random.Random) -> bytes:
    """Return a packed frame with one thing wrong in it."""
    request = [rng.choice([1, 0, -1, 2**64 - 1, "1", None]), rng.choice([1, 11, 12, 13, 99, -3, "x"]), b"fuzz"]
    request += [rng.choice([b"", b"ann", "ann", 7]), rng.choice([0, 2**63, -1, None]), rng.choice([[], {}, 1, [[]]])]
    request = request[: rng.randint(0, 6)] if rng.random() < 0.5 else request
    frame = [rng.choice([1, 1, 1, 2, 0, None]), rng.choice([0, 5, -1, "a"]), rng.choice([0, 2**64 - 1, 1]), [request]]
    packed = msgspec.msgpack.encode(frame[: rng.choice([4, 4, 4, 3, 0])])
    return packed[: rng.randint(1, len(packed))] if rng.random() < 0.3 else packed


def test_malformed_messages(target: Cluster) -> None:
    rng = random.Random(SEED)
    deep = b"\x91" * 100_000
    with target.peer("b0") as peer:
        for n in range(200):
            parts = [rng.randbytes(rng.choice([0, 1, 7, 40, 3000])) for _ in range(rng.randint(1, 5))]
            if n % 2:
                parts[0] = almost_right(rng)
            peer.socket.send_multipart(parts)
        peer.socket.send(deep)
        peer.socket.send(wire.pack_requests(1, 1, [deep[:5000]]))
        wait_for(lambda: target.stats("b0").get("errors.wire", 0) >= 150, "the messages to be refused")
    assert_serving(target)
    log = target.brokers["b0"].log()
    assert "Traceback" not in log


def peer_survives(cluster: Cluster) -> bool:
    """Return whether another connection gets an answer."""
    with cluster.peer("b0") as other:
        return other.ping().broker == "b0"


def test_requests_that_are_wrong_get_an_error_and_their_neighbours_an_answer(target: Cluster) -> None:
    with target.peer("b0") as peer:
        peer.ping()
        later = peer.clock + 10**9
        packed = [
            wire.pack_request(1, Op.PUBLISH, b"fuzz", b"", later, Publish(b"", b"first")),
            msgspec.msgpack.encode((2, 99, b"fuzz", b"", later, [])),
            wire.pack_request(3, Op.PUBLISH, b"", b"", later, Publish(b"", b"x")),
            wire.pack_request(4, Op.TAKE, b"fuzz", b"", later, Nothing()),
            wire.pack_request(5, Op.PUBLISH, b"fuzz", b"ann", later, Publish(b"", b"x")),
            msgspec.msgpack.encode((6, int(Op.PUBLISH), b"fuzz", b"", later, [1, 2])),
            wire.pack_request(7, Op.TAKE, b"f" * 1025, b"ann", later, Nothing()),
            wire.pack_request(8, Op.TAKE, b"fuzz", b"ann", later, Nothing()),
        ]
        peer.socket.send(wire.pack_requests(peer.incarnation, 1, packed))
        frame = wire.unpack_replies(peer.socket.recv_multipart())
        codes = [(reply.id, reply.code) for reply in frame.replies]
        assert codes == [(1, ""), *[(n, "bad-request") for n in range(2, 8)], (8, "")]
        assert wire.unpack_result(Op.TAKE, frame.replies[7].result).body == b"first"

        # Of another version: each is refused by its id, so that its sender does not wait in vain.
        newer = [99, 0, 1, [[11, 1, b"", b"", 0, ["a", "b"]], [12, 1, b"", b"", 0, []]]]
        peer.socket.send(msgspec.msgpack.encode(newer))
        frame = wire.unpack_replies(peer.socket.recv_multipart())
        assert [(reply.id, reply.code) for reply in frame.replies] == [(11, "bad-request"), (12, "bad-request")]
    assert_serving(target)


def test_raw_garbage_on_the_socket(target: Cluster) -> None:
    rng = random.Random(SEED)
    path = target.map.endpoint("b0").removeprefix("ipc://")
    assert Path(path).is_socket()
    greeting = HELLO + b"\x03\x00NULL" + bytes(48)
    beginnings = [b"", b"GET / HTTP/1.1\r\n\r\n", HELLO, greeting]
    beginnings += [greeting + b"\x04\x7f", greeting + b"\x02" + b"\xff" * 8]
    for n in range(200):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(path)
            try:
                raw.sendall(beginnings[n % len(beginnings)] + rng.randbytes(rng.choice([0, 1, 64, 10_000])))
                if n % 3 == 0:
                    raw.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the broker has closed it already
        if n % 50 == 49:
            assert_serving(target)
    assert_serving(target)


def test_a_frame_over_the_ceiling_costs_only_its_own_connection(target: Cluster) -> None:
    with target.peer("b0") as peer:
        peer.ping()
        peer.socket.send(b"\x00" * (3 * 1024 * 1024))
        assert peer_survives(target)
    assert_serving(target)


def test_a_ping_for_somebody_else_is_answered_with_the_truth(target: Cluster) -> None:
    with target.peer("b0") as peer:
        pong = peer.ask(Op.PING, args=Ping("elsewhere", "b7")).result
        assert (pong.cluster, pong.broker) == (target.map.name, "b0")
    assert target.stats("b0")["errors.wrong-peer"] == 1
