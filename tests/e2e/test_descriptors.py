"""Too few file descriptors: this is reported at the start, and what needs some keeps them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, flags_of, is_ready, wait_for

pytestmark = pytest.mark.slow


def test_a_front_with_few_descriptors_serves_fewer_and_stays_open_to_operators(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=0)
    cluster.prefix = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    settings = flags_of({"run_dir": cluster.run_dir, "port": 0, "ops_port": 0})
    front = cluster.spawn("few", "httpfront", *settings)
    where = wait_for(lambda: front.event("serving"), "the front")
    warning = "the limit of open files is too low for --connections: fewer are served"
    said = wait_for(lambda: front.event(warning), "the front to say so")
    assert (said["level"], said["limit"], said["served"]) == ("warning", 256, 32)
    wait_for(lambda: is_ready(where["port"]), "the front")
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", where["port"])))
        operator = Client(where["ops_port"])
        assert operator.call("GET", "/readyz").status == 200
        assert operator.call("GET", "/metrics").status == 200
        operator.close()
    assert not any("cannot accept" in each["event"] for each in front.events())


def test_a_broker_with_few_descriptors_refuses_a_flood_and_keeps_who_is_in(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.fronts[0]
    cluster.brokers["b0"].kill()
    cluster.prefix = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    broker = cluster.start_broker("b0")
    wait_for(front.ready, "the front")
    front.web.subscribe("t", "u")
    front.web.publish("t", b"kept")
    strangers: list[socket.socket] = []

    def refused() -> bool:
        stranger = socket.socket(socket.AF_UNIX)
        strangers.append(stranger)
        try:
            stranger.connect(str(cluster.run_dir / "b0.sock"))
        except OSError:
            return False
        return broker.event("connections refused: too few file descriptors") is not None

    wait_for(refused, "a refusal")
    assert front.web.take("t", "u").body == b"kept"
    for stranger in strangers:
        stranger.close()
