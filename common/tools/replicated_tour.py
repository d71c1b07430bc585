"""The second tour of `bin/quickstart --replicated`: what to kill, and how to see that nothing is lost."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from common.clock import SystemClock, pause
from common.cluster.slots import ClusterMap
from common.process.front_ports import front_lock, ports_of
from common.process.locks import HOLDER_BYTES
from common.program import launcher
from common.tools.nats_nodes import HOST, Node
from common.tools.tour_key import with_key

TOPIC = "audit"
NUMBERS = 300
OWNERS_S, POLL_S = 20.0, 0.2
"""How long the owners are waited for, and between two questions."""

TOUR = """
Every topic has a second copy. These processes run now; each is started again when it dies:

{processes}

Kill any of them: what was answered with 200 stays, and its topics are served again within seconds.
The topic "{topic}" is on broker {broker}, which is owned by the candidate on {owner}:

  # ann subscribes; {numbers} numbers are published, each until it is accepted, with a key that has it stored once
  curl -i -X POST {first}/{topic}/ann
  seq {numbers} | while read n; do
    until curl -sf -o /dev/null -H "Idempotency-Key: $n" -d $n {first}/{topic}; do sleep 0.2; done; sleep 0.05
  done &

  # meanwhile kill the owner of {broker}, and a NATS server
  kill -9 {broker_pid}
  kill -9 {nats_pid}

  # when the loop is done: all numbers are there, in order, each once
  wait $!; curl -s '{last}/{topic}/ann?max=1000' | wc -l      # {numbers}

  # who owns what now
  {replica} status --config {description} --nats {nats}
"""


def second_tour(options: Any, run_dir: Path, cluster: ClusterMap, nodes: list[Node]) -> str:
    """Return the tour, with the process ids of now. Waits a while for the owners of the brokers."""
    owners = _owners(options.ops_port)
    candidates = {each.name: holder(run_dir / each.host / f"{each.name}.lock") for each in cluster.addresses}
    lines = [
        (f"broker {name}", "owner" if name in owners.values() else "standby", pid) for name, pid in candidates.items()
    ]
    lines += [(f"NATS server {node.name}", f"port {node.port}", _content(node.pid_file)) for node in nodes]
    ports = ports_of(options.port, options.fronts)
    lines += [("front", f"port {port}", holder(front_lock(run_dir, [HOST], port))) for port in ports]
    broker = cluster.owner(TOPIC.encode())
    owner = owners.get(broker) or cluster.candidates(broker)[0].name
    return with_key(TOUR, options.api_keys_file).format(
        processes="\n".join(f"  {what:<16}{detail:<12}{pid:>8}" for what, detail, pid in lines),
        topic=TOPIC,
        numbers=NUMBERS,
        broker=broker,
        owner=owner.partition("@")[2],
        broker_pid=candidates[owner],
        nats_pid=_content(nodes[0].pid_file),
        first=f"http://{HOST}:{ports[0]}",
        last=f"http://{HOST}:{ports[-1]}",
        replica=launcher("replica"),
        description=run_dir / "cluster.toml",
        nats=",".join(node.url for node in nodes),
    )


def holder(lock: Path) -> str:
    """Return the id of the process that has written its lock file."""
    return _content(lock)[:HOLDER_BYTES].strip()


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "-"


def _owners(ops_port: int) -> dict[str, str]:
    """Return by broker the candidate that owns its log, as a front says; {} where it does not tell."""
    if not ops_port:
        return {}
    clock = SystemClock()
    until = clock.now().mono + OWNERS_S * 1e6
    found: dict[str, str] = {}
    while clock.now().mono < until:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{ops_port}/-/v1/brokers", timeout=2) as answer:
                brokers = json.load(answer)["brokers"]
        except (OSError, ValueError):
            return found  # it wants a key
        owned = {each["id"]: [one["host"] for one in each["candidates"] if one["state"] == "owner"] for each in brokers}
        found = {broker: f"{broker}@{hosts[0]}" for broker, hosts in owned.items() if hosts}
        if len(found) == len(brokers):
            break
        pause(POLL_S)
    return found
