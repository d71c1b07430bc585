"""What `bin/quickstart --replicated` starts instead of brokers: three NATS servers, and brokers as on three hosts."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.clock import SystemClock
from common.cluster.description import DESCRIPTION, describe_replicated, load_cluster
from common.cluster.slots import ClusterMap
from common.errors import StartError
from common.process.folders import private_dir, write_file
from common.process.front_ports import check_ports
from common.process.supervise import Child
from common.tools.nats_nodes import HOST, NAMES, PORTS_EACH, Node, configure, find_server, nodes_in
from common.tools.replicated_tour import second_tour

HOSTS = ("h1", "h2", "h3")
"""Each is a run directory and a directory of stores, in place of a machine."""
PORTS = PORTS_EACH * len(NAMES)
FREE_FROM, FREE_TO = 14222, 15222
"""Where free ports are looked for."""
LOG_BYTES = 256 * 2**20
"""Maximum size of each log. NATS reserves it on every server."""


class Replicated:
    """The files and processes of one quickstart. A context manager: a temporary directory is removed at its end."""

    def __init__(self, options: Any) -> None:
        """Take the options of the quickstart, and prepare all files. Raises `StartError`."""
        find_server()
        self._options = options
        self.run_dir = private_dir(options.run_dir)
        self.data = private_dir(options.data or tempfile.mkdtemp(prefix="fanmail-"), "data directory")
        end = "survive restarts" if options.data else "are removed when this stops; --data DIR keeps them"
        self.kept = f"Messages are kept twice, in {self.data}, and {end}."
        self._nats = private_dir(self.data / "nats", "directory of NATS")
        self.nodes = nodes_in(self._nats, options.nats_port or _free_ports())
        if options.nats_port:
            check_ports([HOST], range(options.nats_port, options.nats_port + PORTS))
        configure(self.nodes)
        self._description = self.run_dir / DESCRIPTION
        self.map = self._describe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._options.data:
            shutil.rmtree(self.data, ignore_errors=True)

    def children(self) -> list[Child]:
        """Return what is to be started, in order.

        The first NATS server starts alone: servers that start together split their votes, and vote again after seconds.
        """
        settings = [f"--nats={','.join(node.url for node in self.nodes)}", f"--log-max-bytes={LOG_BYTES}"]
        described = f"--config={self._description}"
        hosts = [host for host in HOSTS if any(each.host == host for each in self.map.addresses)]
        flags = [*settings, f"--log-level={self._options.log_level}"]
        started = {f"start-brokers-{host}": self._host(host, described, flags) for host in hosts}
        nats, size = settings
        monitors = ",".join(node.monitor for node in self.nodes)
        tool = [sys.executable, "-m", "broker.tools.replica"]
        init = [*tool, "init", described, nats, size]
        doctor = [*tool, "doctor", described, nats, f"--monitor={monitors}"]
        make_logs = ["sh", "-c", f"{shlex.join(init)} && {shlex.join(doctor)}"]
        return [
            _nats_child(self._nats, self.nodes, NAMES[:1], []),
            _nats_child(self._nats, self.nodes, NAMES[1:], make_logs),
            Child("hosts", [sys.executable, "-m", "common.tools.hosts", json.dumps(started)]),
        ]

    def tour(self) -> str:
        """Return what to kill, with the ids of the processes that run now. Takes up to some seconds."""
        return second_tour(self._options, self.run_dir, self.map, self.nodes)

    def _describe(self) -> ClusterMap:
        epoch = SystemClock().now().wall // 1000
        write_file(self._description, describe_replicated(self._options.brokers, HOSTS, self.run_dir, epoch))
        return load_cluster(self._description)

    def _host(self, host: str, described: str, settings: list[str]) -> list[str]:
        run_dir = private_dir(self.run_dir / host)
        flags = [f"--candidate={host}", f"--run-dir={run_dir}", f"--data={self.data / host}", "--store=replicated"]
        return [sys.executable, "-m", "broker.start", described, *flags, *settings]


def _nats_child(folder: Path, nodes: list[Node], names: tuple[str, ...], command: list[str]) -> Child:
    where = [f"--folder={folder}", f"--port={nodes[0].port}", f"--nodes={','.join(names)}"]
    argv = [sys.executable, "-m", "common.tools.nats_nodes", *where, *(["--", *command] if command else [])]
    return Child(f"nats-{names[0]}", argv)


def _free_ports() -> int:
    for first in range(FREE_FROM, FREE_TO, PORTS):
        try:
            check_ports([HOST], range(first, first + PORTS))
        except StartError:
            continue
        return first
    raise StartError(f"there are no {PORTS} free ports from {FREE_FROM} on: give --nats-port")
