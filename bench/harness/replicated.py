"""One replicated broker: three NATS servers, two candidates on one host, and a front."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.harness.processes import READY_PATH, START_TIMEOUT_S, BenchError, Group, Process, wait_until
from bench.harness.wires import free_port, free_ports
from common.cluster.description import describe_replicated, load_cluster
from common.cluster.slots import BrokerAddress, ClusterMap
from common.tools.nats_nodes import NAMES, PORTS_EACH, Node, ask, configure, has_leader

OWNER, STANDBY = HOSTS = ("h1", "h2")
BROKER = "b0"
LOG_BYTES = 8 * 2**30
INIT_TIMEOUT_S = 60.0


class ReplicatedCluster(Group):
    """The first candidate owns the log when the constructor returns."""

    def __init__(self, data: Path, broker_flags: tuple[str, ...]) -> None:
        """Keep everything in `data`, which should be on a disk. Raises `BenchError`."""
        super().__init__()
        self.keys = None
        try:
            self.nodes = self._start_nats(data)
            description = self.run_dir / "cluster.toml"
            for host in HOSTS:
                (self.run_dir / host).mkdir(mode=0o700)
            description.write_text(describe_replicated(1, HOSTS, self.run_dir))
            self._config = f"--config={description}"
            self._log = (f"--nats={','.join(each.url for each in self.nodes)}", f"--log-max-bytes={LOG_BYTES}")
            self._flags = ("--store=replicated", *self._log, *broker_flags)
            self._init()
            self._data = data
            whole = load_cluster(description)
            owner = whole.candidates(BROKER)[HOSTS.index(OWNER)]
            self.map = ClusterMap(whole.name, whole.epoch, [BrokerAddress(BROKER, owner.endpoint)])
            self.brokers = [self._candidate(OWNER)]
            front = ("--access-log=off", f"--ops-port={free_port()}", f"--run-dir={self.run_dir}", self._config)
            self.fronts = [self.start_http("httpfront", READY_PATH, *front)]
            self.brokers.append(self._candidate(STANDBY))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def watched(self) -> dict[str, Process]:
        """Return the processes whose time counts."""
        nats = {f"NATS {node.name}": process for node, process in zip(self.nodes, self.processes, strict=False)}
        return {"front": self.fronts[0], "broker": self.brokers[0], "standby": self.brokers[1], **nats}

    def restart(self, number: int) -> None:
        """Start a candidate that was killed; return when it follows."""
        killed = self.brokers[number]
        fresh = self._candidate(HOSTS[number])
        self.processes.remove(fresh)
        self.brokers[number] = self.processes[self.processes.index(killed)] = fresh
        fresh.ready(START_TIMEOUT_S)

    def _start_nats(self, data: Path) -> list[Node]:
        nodes = [Node(name, data / name, free_ports(PORTS_EACH)) for name in NAMES]
        configure(nodes)
        for node in nodes:
            process = self.start("common.tools.nats_nodes", f"--serve={node.configuration}")
            wait_until(partial(ask, node, "/varz"), process)  # nodes that start together would split their votes
        wait_until(partial(has_leader, nodes), self.processes[0])
        return nodes

    def _init(self) -> None:
        argv = [sys.executable, "-m", "broker.tools.replica", "init", self._config, *self._log]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INIT_TIMEOUT_S, check=False)
        if done.returncode:
            raise BenchError(f"the log cannot be made: {done.stderr.strip()}")

    def _candidate(self, host: str) -> Process:
        place = (f"--candidate={host}", f"--run-dir={self.run_dir / host}", f"--data={self._data / host}")
        return self.start("broker", f"--id={BROKER}", self._config, *place, *self._flags)
