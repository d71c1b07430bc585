"""The figures of brokers through the shipped configurations of nginx and HAProxy: one address, and nothing besides."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, Answer, Client, wait_for
from tests.e2e.fake_fronts import FakeFront
from tests.e2e.proxies import PROGRAMS, Proxy, running

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_figures_of_brokers_have_one_address_which_fails_over(program: str, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=3)
    ports = [front.port for front in cluster.fronts]
    operations = [front.ops_port for front in cluster.fronts]
    killed, stuck, _ = cluster.fronts
    with running(program, ports, operations=operations) as proxy:
        wait_for(lambda: _complete(proxy), "the fronts to be ready")
        killed.process.kill()
        assert all(_complete(proxy) for _ in range(6)), "one that is gone is passed over, at once"
        stuck.process.signal(signal.SIGSTOP)
        try:
            assert all(_complete(proxy) for _ in range(4)), "and so is one that hangs"
        finally:
            stuck.process.signal(signal.SIGCONT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_else_of_the_operations_port_is_passed_on(program: str) -> None:
    with FakeFront() as front, running(program, [front.port]) as proxy:
        _try_others(front, proxy)


def _try_others(front: FakeFront, proxy: Proxy) -> None:
    wait_for(lambda: _status(proxy, "GET", "/metrics/brokers") == 200, "the front to be ready")
    asked = len(front.requests)
    for method, target in (
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/metrics/brokers/"),
        ("GET", "/-/v1/topics"),
        ("DELETE", "/-/v1/topics/t"),
        ("DELETE", "/metrics/brokers"),
        ("POST", "/metrics/brokers"),
    ):
        assert _status(proxy, method, target) in (403, 404, 405), (method, target)
    for target in (
        "//metrics/brokers",
        "/x/../metrics/brokers",
        "/-/v1/topics/..%2F..%2F..%2Fmetrics%2Fbrokers",
        "/metrics/%62rokers",
        "/metrics/brokers/../../-/v1/topics",
        "http://127.0.0.1/-/v1/topics",
    ):
        _status(proxy, "GET", target)
    targets = {each.split()[1] for each in front.requests[asked:]}
    assert targets <= {b"/metrics/brokers", b"/readyz", b"/livez"}


def _complete(proxy: Proxy) -> bool:
    """Return whether a scrape has the figures of both brokers.

    It uses a connection of its own, as Prometheus does.
    """
    client = Client(proxy.places.metrics)
    answer: Answer = client.call("GET", "/metrics/brokers")
    client.close()
    return answer.status == 200 and answer.body.count(b"\nfanmail_topics{") == 2


def _status(proxy: Proxy, method: str, target: str) -> int:
    with socket.create_connection(("127.0.0.1", proxy.places.metrics), PATIENCE) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n" not in head and (more := connection.recv(4096)):
            head += more
    return int(head.split()[1])
