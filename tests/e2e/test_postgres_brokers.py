"""Brokers on a log in PostgreSQL: whoever dies, what was acknowledged is there. Runs with FANMAIL_TEST_POSTGRES=1."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.replica.engine.names import StreamName
from broker.replica.postgres.access import Access
from broker.replica.postgres.logs import ask
from tests.e2e.cluster import Cluster, clean_environ, wait_for
from tests.e2e.replicated import HOSTS, LOG_BYTES, ReplicatedCluster, new_log, subscribed
from tests.e2e.test_replicated import TIMEOUT, publish, same_state
from tests.support.postgres_server import PostgresServer


class PostgresCluster(ReplicatedCluster):
    """One broker with two candidates, and a front, on a server of its own."""

    def __init__(self, server: PostgresServer, name: str = "") -> None:
        self.server = server
        self.postgres = Access(server.url)
        self.cluster_name = name or f"t{os.urandom(4).hex()}"
        self.logs: dict[str, StreamName] = {}
        self.candidates = {}
        broker = {"store": "replicated", "postgres": server.url, "log_replicas": 1, "disk_reserve": "1MiB"}
        Cluster.__init__(self, 1, 1, broker, {"broker_timeout": TIMEOUT})

    def _make_log(self, broker_id: str) -> StreamName:
        name, entry = new_log(self.cluster_name, broker_id)
        ask(self.postgres, lambda logs: logs.make(name, entry, LOG_BYTES))
        return name

    def close(self) -> None:
        Cluster.close(self)


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    with closing(PostgresServer()) as server, subscribed(PostgresCluster(server)) as made:
        yield made


def test_nothing_acknowledged_is_lost_when_owners_and_the_server_are_killed(cluster: PostgresCluster) -> None:
    def kill_owner() -> None:
        cluster.candidates[first].kill()

    def crash_server() -> None:
        cluster.server.crash()
        cluster.server.start()

    def kill_both() -> None:
        cluster.candidates[cluster.owner()].kill()
        crash_server()

    first = cluster.owner()
    web = cluster.fronts[0].web
    harms: list[Callable[[], None]] = [kill_owner, crash_server, kill_both]
    for number, harm in enumerate(harms):
        bodies = [b"%d-%d" % (number, each) for each in range(30)]
        for body in bodies[:10]:
            publish(web, body)
        harm()
        for body in bodies[10:]:
            publish(web, body)
        assert web.drain("t", "u") == bodies
        for name, process in cluster.candidates.copy().items():
            if not process.running:
                cluster.start_broker(name)
        wait_for(lambda: same_state(cluster), "both candidates to have the same")
    assert cluster.owner()


def test_tools_make_and_show_logs_and_find_that_there_is_one_copy(folder: Path) -> None:
    description = folder / "cluster.toml"
    ends = ", ".join(f'{{host = "{host}", endpoint = "ipc://{folder}/{host}.sock"}}' for host in HOSTS)
    description.write_text(f'[cluster]\nname = "c"\n[[brokers]]\nid = "b0"\ncandidates = [{ends}]\n')
    server = PostgresServer()

    def tool(*arguments: str) -> tuple[int, str]:
        flags = (f"--config={description}", f"--run-dir={folder}", f"--postgres={server.url}")
        argv = [sys.executable, "-m", "broker.tools.replica", *arguments, *flags]
        done = subprocess.run(argv, env=clean_environ(), capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    try:
        code, said = tool("doctor")
        assert (code, "has no log in PostgreSQL" in said) == (1, True)
        code, made = tool("init")
        assert (code, made.startswith("b0: FM_c_b0_")) == (0, True)
        assert tool("init") == (0, f"b0: has a log: {made[4:]}")
        code, said = tool("status")
        assert (code, "1..1, " in said, "one copy" in said) == (1, True, True)
        code, said = tool("doctor")
        assert (code, "WRONG: " in said) == (1, True)
        code, said = tool("doctor", "--log-replicas=1")
        assert (code, "1 copies" in said) == (0, True)
        code, said = tool("status", "--nats=nats://127.0.0.1:1")
        assert (code, "both" in said) == (2, True)
    finally:
        server.close()
