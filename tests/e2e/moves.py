"""Moves of slots in tests: the tool as a process, and what brokers say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from broker.tools.slot_links import Links, View
from common.cluster.description import describe_local, load_cluster
from common.cluster.slots import slot_of
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, clean_environ, wait_for


def rebalance(cluster: Cluster, *arguments: str, code: int = 0) -> str:
    """Run `bin/rebalance` to its end; return what it prints."""
    command = [sys.executable, "-m", "broker.tools.rebalance", *arguments, f"--run-dir={cluster.run_dir}"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr, cluster.about())
    return done.stdout + done.stderr


def tool(name: str, *arguments: object) -> None:
    """Run another command of `broker/tools`, which must succeed."""
    command = [sys.executable, "-m", f"broker.tools.{name}", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def as_json(text: str) -> Any:
    """Return what a command with `--json` has printed."""
    return json.loads(text)


def add_broker(cluster: Cluster, count: int, epoch: int) -> None:
    """Describe a cluster of `count` brokers, of which the last one is new, and start that."""
    cluster.description.write_text(describe_local(count, cluster.run_dir, epoch))
    cluster.map = load_cluster(cluster.description)
    cluster.start_broker(f"b{count - 1}")
    cluster.await_ready()


def view_of(cluster: Cluster) -> View:
    """Return what the brokers say of their slots."""
    with Links(cluster.map, None) as links:
        return wait_for(lambda: None if (view := links.view()).silent else view, "all brokers to answer")


def slots_of(*topics: str) -> str:
    """Return the slots of topics, as `--slots` takes them."""
    return ",".join(str(slot_of(topic.encode())) for topic in topics)
