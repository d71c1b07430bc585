"""Clients that send slowly and clients that do not read, before fronts with few places: nginx and HAProxy cope."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, Client, Cluster, wait_for
from tests.e2e.fake_fronts import FakeFront
from tests.e2e.proxies import PROGRAMS, Door, running

pytestmark = pytest.mark.slow

PLACES = 12
"""Connections of the front."""
MANY = 3 * PLACES
MIB = 1024 * 1024


@pytest.fixture(params=PROGRAMS)
def door(start_cluster: StartCluster, request: pytest.FixtureRequest) -> Iterator[Door]:
    cluster: Cluster = start_cluster(brokers=1, fronts=1, front_settings={"connections": PLACES})
    with running(request.param, [cluster.fronts[0].port]) as proxy:
        yield Door(proxy, "http")


def others_are_served(door: Door) -> None:
    """Assert that others are served, each over a new connection."""
    for n in range(PLACES):
        client = Client(door.port)
        assert client.subscribe("busy", f"u{n}").status == 200
        client.close()
    assert door.web.publish("busy", b"x").headers["Msg-Subscribers"] == f"{PLACES}"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POST /slow",
        b"POST /slow HTTP/1.1\r\nHost: localhost\r\nX-A: a",
        b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nxyz",
        b"POST /slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxyz",
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "half a chunk"],
)
def test_clients_that_dribble_take_no_place_at_a_front(door: Door, start: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(door.connect()) for _ in range(MANY)]
        for each in slow:
            each.sendall(start)
        others_are_served(door)
        for each in slow:
            each.sendall(b"b")
        others_are_served(door)


@pytest.mark.parametrize(
    ("program", "ceiling"),
    [("nginx", "limit_conn fanmail_clients 2000;"), ("haproxy", "sc0_conn_cur gt 2000")],
)
def test_one_address_does_not_take_all_the_places(program: str, ceiling: str) -> None:
    with ExitStack() as stack:
        front = stack.enter_context(FakeFront())
        proxy = stack.enter_context(running(program, [front.port], {ceiling: ceiling.replace("2000", "20")}))
        door = Door(proxy, "http")
        for n in range(20):
            connection = stack.enter_context(door.connect(source="127.0.0.9"))
            connection.sendall(f"GET /silent/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: len([each for each in front.requests if b"/silent/" in each]) == 20, "them to be asked")
        with suppress(ConnectionResetError), door.connect(source="127.0.0.9") as connection:
            connection.sendall(b"GET /fine/21 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).split()[1:2] == ([b"503"] if program == "nginx" else [])
        assert door.web.call("GET", "/fine/another").status == 200
        assert front.times("GET", "/fine/21") == 0


def test_clients_that_do_not_read_hold_up_nobody(door: Door) -> None:
    size = MIB // 2 - 4
    batch = b"".join(size.to_bytes(4, "big") + bytes([n]) * size for n in range(16))
    readers = PLACES // 3
    for n in range(readers):
        door.web.subscribe("huge", f"u{n}")
    assert door.web.call("POST", "/huge?batch=frames", batch).status == 200
    with ExitStack() as stack:
        slow = []
        for n in range(readers):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(PATIENCE)
            connection.connect(("127.0.0.1", door.port))
            target = f"/huge/u{n}?max=16"
            accept = "Accept: application/vnd.fanmail.frames\r\nConnection: close\r\n"
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n".encode())
            slow.append(connection)
        heads = [each.recv(100) for each in slow]
        others_are_served(door)
        for head, connection in zip(heads, slow, strict=True):
            data = bytearray(head)
            while more := connection.recv(MIB):
                data += more
            assert data.partition(b"\r\n\r\n")[2] == batch
