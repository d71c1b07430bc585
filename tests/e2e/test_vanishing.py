"""Clients that disconnect while they wait, and a large number of waiting ones, over raw sockets."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter

from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, Client, wait_for

SOCKETS = 200


def waiting(port: int, target: str) -> socket.socket:
    """Return a connection that has sent its request."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def last_words(connection: socket.socket) -> tuple[int, bytes]:
    """Close our side. Return the status and body that the server had sent, or still sends."""
    connection.shutdown(socket.SHUT_WR)
    return answer(connection)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return the status and body of everything that arrives until the server closes."""
    data = b""
    while more := connection.recv(65536):
        data += more
    connection.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_two_hundred_sockets_closed_at_random_moments_take_nothing_away(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    web, rng = cluster.fronts[0].web, random.Random(7)
    web.subscribe("vanish", "ann")
    going = threading.Event()
    published: list[bytes] = []

    def publish() -> None:
        client = Client(cluster.fronts[0].port)
        while not going.is_set():
            published.append(b"%d" % len(published))
            assert client.publish("vanish", published[-1]).status == 200
            going.wait(rng.uniform(0, 0.01))

    publisher = threading.Thread(target=publish)
    publisher.start()
    statuses: Counter[int] = Counter()
    got: list[bytes] = []
    open_sockets: list[socket.socket] = []
    for _ in range(SOCKETS):
        open_sockets.append(waiting(rng.choice(cluster.fronts).port, "/vanish/ann?wait=20"))
        while len(open_sockets) > rng.randint(0, 10):
            status, body = last_words(open_sockets.pop(rng.randrange(len(open_sockets))))
            statuses[status] += 1
            if status == 200:
                got.append(body)
    going.set()
    publisher.join(PATIENCE)
    for each in open_sockets:
        status, body = last_words(each)
        statuses[status] += 1
        if status == 200:
            got.append(body)
    got += web.drain("vanish", "ann")
    assert Counter(got) == Counter(published), "what a client was not told of was not taken"
    assert set(statuses) <= {200, 503}, statuses
    assert statuses[503] > 10, "some went while they waited"
    wait_for(lambda: cluster.waiters() == 0, "no wait to be left over")


def test_a_message_that_a_vanished_worker_held_comes_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    web = cluster.fronts[0].web
    web.subscribe("held", "ann")
    connections = [waiting(cluster.fronts[0].port, "/held/ann?wait=20&lease=1") for _ in range(50)]
    wait_for(lambda: cluster.waiters() == 50, "the waits to be parked")
    for n in range(50):
        web.publish("held", b"%d" % n)
    for each in connections:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        each.close()  # a reset: what was read is unknown
    got = Counter[bytes]()
    while len(got) < 50:
        answer = web.call("GET", "/held/ann?wait=20&lease=30")
        assert answer.status == 200
        got[answer.body] += 1
        assert web.call("DELETE", f"/held/ann/{answer.headers['Msg-Receipt']}").status == 200
    assert set(got.values()) == {1}
    assert cluster.held()["messages"] == 0


def test_two_hundred_waiters_leave_publishing_through_their_front_alone(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    web, port = cluster.fronts[0].web, cluster.fronts[0].port
    web.subscribe("quiet", "ann")
    web.subscribe("busy", "bob")
    connections = [waiting(port, "/quiet/ann?wait=30") for _ in range(SOCKETS)]
    wait_for(lambda: cluster.waiters() == SOCKETS, "the waits to be parked")
    for n in range(500):
        assert web.publish("busy", b"%d" % n).status == 200
    assert web.drain("busy", "bob") == [b"%d" % n for n in range(500)]
    assert cluster.waiters() == SOCKETS
    cluster.fronts[0].process.popen.terminate()
    assert {answer(each)[0] for each in connections} == {204}, "a drain answers all of them"
