"""Clients and fronts that read nothing: what processes hold for them stays below its limit, and others are served."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, wait_for
from tests.e2e.keys import bearer, write_keys

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
BUFFER = 32 * MIB
CLIENTS = 40
BODIES, ANSWERS = (f'fanmail_front_broker_bytes{{broker="b0",of="{each}"}}' for each in ("bodies", "answers"))


def peak(pid: int) -> int:
    """Return the greatest resident size in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def clients(port: int, request: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that send this and read nothing."""
    opened = []
    for _ in range(CLIENTS):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        opened.append(client)
        client.sendall(request)
    yield opened
    for client in opened:
        client.close()


def test_clients_that_read_nothing_do_not_fill_a_front(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=0)
    front = cluster.start_front(buffer_memory=BUFFER)
    wait_for(front.ready)
    web = front.web
    web.subscribe("t", "u")
    web.subscribe("t", "small")
    for _ in range(8):
        web.publish("t", b"x" * MIB)
    before = peak(front.process.pid)
    every = b"GET /t/u?after=0&max=100 HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n"
    one = b"GET /t/u?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with clients(front.port, every), clients(front.port, one):
        wait_for(lambda: metric(front.ops_port, "fanmail_front_buffer_bytes") > BUFFER // 4, "answers that wait")
        assert web.publish("t", b"x").status == 200
        assert web.call("GET", "/t/small").status in (200, 503)
    # In addition, one response while it is made: as frames, as text, as JSON, and with its headers.
    assert peak(front.process.pid) - before < BUFFER + 64 * MIB
    wait_for(lambda: metric(front.ops_port, "fanmail_front_buffer_bytes") == 0, "the front to free its buffers")
    assert len(web.call("GET", "/t/u?after=0&max=100").body) > 7 * MIB


def test_strangers_do_not_fill_a_front(start_cluster: StartCluster, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml", {"reader": 'allow = [{rights = ["subscribe"], topic = "t", user = "*"}]'})
    cluster = start_cluster(brokers=1, fronts=0)
    front = cluster.start_front(api_keys_file=keys)
    wait_for(front.ready)
    before = peak(front.process.pid)
    with clients(
        front.port, b"POST /t?batch=lines HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % MIB
    ) as strangers:
        for stranger in strangers:
            stranger.sendall(bytes(MIB - 1))
        for stranger in strangers:
            assert stranger.recv(12) == b"HTTP/1.1 401"
    assert peak(front.process.pid) - before < CLIENTS * MIB // 2
    assert front.web.call("POST", "/t/u", headers=bearer("reader")).status == 200


def test_a_front_that_stops_reading_does_not_fill_its_broker(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=0, broker_settings={"memory": 256 * MIB})
    front = cluster.start_front(buffer_memory=1024 * MIB)
    wait_for(front.ready)
    front.web.subscribe("t", "u")
    for _ in range(8):
        front.web.publish("t", b"x" * MIB)
    broker = cluster.brokers["b0"]
    before = peak(broker.pid)
    with cluster.peer("b0") as peer, clients(front.port, b"") as waiting:
        broker.signal(signal.SIGSTOP)
        for client in waiting:
            client.sendall(b"GET /t/u?after=0&max=100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: metric(front.ops_port, ANSWERS) >= 16 * MIB, "the front to have asked")
        front.process.signal(signal.SIGSTOP)
        broker.signal(signal.SIGCONT)
        wait_for(lambda: peer.stats()["answer_bytes"] > 8 * MIB, "answers that nobody reads")
        assert peer.stats()["answer_bytes"] <= 33 * MIB
        front.process.signal(signal.SIGCONT)
    assert peak(broker.pid) - before < 128 * MIB
    wait_for(lambda: front.web.call("GET", "/t/u?after=0").status == 200, "the front to go on")


def test_a_broker_that_stands_still_does_not_fill_up_with_bodies(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=0, broker_settings={"memory": 32 * MIB})
    front = cluster.start_front(buffer_memory=1024 * MIB)
    wait_for(front.ready)
    broker = cluster.brokers["b0"]
    before = peak(broker.pid)
    publish = b"POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB)
    with clients(front.port, b"") as first, clients(front.port, b"") as second, clients(front.port, b"") as third:
        broker.signal(signal.SIGSTOP)
        for client in (*first, *second, *third):
            client.sendall(publish)
        wait_for(lambda: metric(front.ops_port, BODIES) >= 16 * MIB, "bodies under way")
        assert metric(front.ops_port, BODIES) <= 32 * MIB, "others wait in the front"
        broker.signal(signal.SIGCONT)
        for client in (*first, *second, *third):
            assert client.recv(12)[9:] in (b"200", b"503", b"504")
    assert peak(broker.pid) - before < 96 * MIB


def metric(ops_port: int, name: str) -> int:
    """Return a metric of a front from its operations port."""
    text = Client(ops_port).call("GET", "/metrics").body.decode()
    found = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name + " ")]
    return int(float(found[0][2])) if found else 0
