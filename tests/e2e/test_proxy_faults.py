"""Fronts that die, hang and restart behind nginx and HAProxy: no request is ever sent twice."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import Client, wait_for
from tests.e2e.fake_fronts import DEATHS, FakeFront
from tests.e2e.load import Load
from tests.e2e.proxies import PROGRAMS, Door, running

pytestmark = pytest.mark.slow

IMPATIENT = {
    "nginx": {"proxy_read_timeout 45s;": "proxy_read_timeout 1s;"},
    "haproxy": {"timeout server 45s": "timeout server 1s"},
}
RETRYING = {
    "nginx": {"proxy_next_upstream off;": "proxy_next_upstream error timeout;"},
    "haproxy": {"retry-on conn-failure": "retry-on all-retryable-errors"},
}
CALLS = {"GET": None, "POST": b"body", "DELETE": None}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def refusing(stack: ExitStack) -> int:
    """Return a port that nobody listens at and nobody else gets."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    return int(taken.getsockname()[1])


class Behind:
    """A proxy before two fronts that do what the path says."""

    def __init__(self, program: str, changes: Mapping[str, str], stack: ExitStack) -> None:
        self.fronts = [stack.enter_context(FakeFront()) for _ in range(2)]
        self.proxy = stack.enter_context(running(program, [front.port for front in self.fronts], changes))

    def times(self, method: str, path: str) -> int:
        """Return how often the fronts got this request."""
        return sum(front.times(method, path) for front in self.fronts)


@pytest.fixture(scope="module", params=PROGRAMS)
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    with ExitStack() as stack:
        yield Behind(request.param, IMPATIENT[request.param], stack)


@pytest.mark.parametrize("fault", DEATHS)
@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_that_a_front_has_read_is_never_sent_again(
    behind: Behind, scheme: str, method: str, fault: str
) -> None:
    client, path = Door(behind.proxy, scheme).client(), f"/{fault}/{scheme}-{method}"
    assert client.call(method, path, CALLS[method]).status == 502
    client.close()
    assert behind.times(method, path) == 1


@pytest.mark.parametrize("method", CALLS)
def test_nor_is_one_that_is_not_answered_in_time(behind: Behind, method: str) -> None:
    client, path = Client(behind.proxy.places.plain), f"/silent/{method}"
    assert client.call(method, path, CALLS[method]).status == 504
    client.close()
    assert behind.times(method, path) == 1


@pytest.mark.parametrize("fault", DEATHS)
@pytest.mark.parametrize("method", CALLS)
def test_nor_is_one_on_a_connection_that_was_used_before(behind: Behind, method: str, fault: str) -> None:
    """Use a connection that may be closing already: HTTP would let the proxy retry, a mailbox does not.

    HAProxy may then close the client's connection without a response, as the front has done.
    """
    client = Client(behind.proxy.places.plain)
    for n in range(6):
        assert client.call(method, f"/fine/{method}-{fault}-{n}", CALLS[method]).status == 200
    try:
        assert client.call(method, f"/{fault}/used-{method}", CALLS[method]).status == 502
    except http.client.RemoteDisconnected:
        assert behind.proxy.program == "haproxy"
    client.close()
    assert behind.times(method, f"/{fault}/used-{method}") == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_would_be_sent_again_with_other_settings(program: str, stack: ExitStack) -> None:
    """Check that the tests above would notice."""
    behind = Behind(program, RETRYING[program], stack)
    client = Client(behind.proxy.places.plain)
    assert client.call("GET", "/fine/t").status == 200
    with suppress(http.client.RemoteDisconnected):
        client.call("GET", "/hang-up/t")
    client.close()
    assert behind.times("GET", "/hang-up/t") > 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_front_that_is_down_is_passed_over(program: str, start_cluster: StartCluster, stack: ExitStack) -> None:
    """Expect this even before a health check has noticed."""
    cluster = start_cluster(brokers=1, fronts=1)
    unchecked = (
        {"default-server check inter 1s fastinter 200ms fall 2 rise 1 maxconn": "default-server maxconn"}
        if program == "haproxy"
        else {}
    )
    proxy = stack.enter_context(running(program, [refusing(stack), cluster.fronts[0].port], unchecked))
    for n in range(20):
        client = Client(proxy.places.plain)
        assert client.subscribe("passed", f"u{n}").status == 200
        client.close()
    assert cluster.held()["subscriptions"] == 20


@pytest.mark.parametrize(("program", "status"), [("nginx", 502), ("haproxy", 503)])
def test_without_a_front_the_proxy_says_so(program: str, status: int, stack: ExitStack) -> None:
    proxy = stack.enter_context(running(program, [refusing(stack)]))
    answer = Client(proxy.places.plain).call("GET", "/t/u")
    assert answer.status == status
    if status == 503:
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_front_that_is_killed_over_a_waiting_get(program: str, start_cluster: StartCluster, stack: ExitStack) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    proxy = stack.enter_context(running(program, [front.port for front in cluster.fronts]))
    web = Client(proxy.places.plain)
    web.subscribe("killed", "ann")
    with socket.create_connection(("127.0.0.1", proxy.places.plain)) as waiting:
        waiting.sendall(b"GET /killed/ann?wait=20 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        for front in cluster.fronts:
            front.process.kill()
        assert waiting.recv(65536).split()[1] == b"502"
    front = cluster.start_front(cluster.fronts[0].port)
    wait_for(front.ready, "the front to be ready again")
    assert front.web.publish("killed", b"kept").headers["Msg-Subscribers"] == "1"
    assert front.web.drain("killed", "ann") == [b"kept"]


def test_haproxy_passes_over_a_front_that_hangs(start_cluster: StartCluster, stack: ExitStack) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    changes = {"timeout server 45s": "timeout server 2s", "timeout check 3s": "timeout check 500ms"}
    proxy = stack.enter_context(running("haproxy", [front.port for front in cluster.fronts], changes))
    stopped = cluster.fronts[0].process
    stopped.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: "Server fronts/front0 is DOWN" in proxy.log(), "HAProxy to notice")
        for _ in range(10):
            client = Client(proxy.places.plain)
            assert client.call("GET", "/hangs/ann").status == 404
            client.close()
    finally:
        stopped.signal(signal.SIGCONT)
    wait_for(lambda: "Server fronts/front0 is UP" in proxy.log(), "HAProxy to notice")


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_restarting_all_fronts_one_after_another_fails_no_request(
    program: str, start_cluster: StartCluster, stack: ExitStack
) -> None:
    cluster = start_cluster(brokers=2, fronts=2)
    proxy = stack.enter_context(running(program, [front.port for front in cluster.fronts]))
    topics = [cluster.topic(broker, f"{broker}-rolling") for broker in ("b0", "b1")]
    with Load([proxy.places.plain], topics) as load:
        for front in cluster.fronts * 2:
            load.await_more(30)
            assert front.process.terminate() == 0
            front.process = cluster.start_front(front.port).process
            wait_for(front.ready, "the front to be ready again")
        load.await_more(30)
    # A front that was just started refuses until it has found its brokers.
    assert load.others(topics, {"200", "204", "503 broker-down"}) == []
    assert violations(load.history, set(topics)) == []
    assert cluster.held()["messages"] == 0
