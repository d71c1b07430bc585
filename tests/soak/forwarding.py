"""`bin/soak --forward N`: N webhooks in one process that is killed, some of whose targets are dead or hang.

What is left idle at the end shows what waiting costs, and what dead targets cost.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

from fanmail import Client
from tests.client.commands import start
from tests.client.forward.receiver import Receiver, task
from tests.client.forward.test_metrics import Samples, samples
from tests.e2e.cluster import Cluster, free_ports, wait_for

MESSAGES = 2
"""For each target."""
KILLS = 3
EACH_DEAD, EACH_HANGING = 10, 50
"""Every tenth target does not exist, and every fiftieth hangs at its first request."""
IDLE_S = 30.0
PATIENCE_S = 600.0
CPU, MEMORY = ("process_cpu_seconds_total",), ("process_resident_memory_bytes",)
"""The names of metrics."""


class Webhooks:
    """The forwarder of N targets, its cluster and its receiver."""

    def __init__(self, count: int, folder: Path, cluster: Cluster, receiver: Receiver) -> None:
        self.count = count
        self.urls = [f"http://127.0.0.1:{front.port}" for front in cluster.fronts]
        self.receiver = receiver
        self.metrics_port, nobody = free_ports(1), free_ports(1)
        self._process: subprocess.Popen[str] | None = None
        self._config = folder / "forwards.toml"
        tables = ["[forward]\nlease = 10\ntimeout = 8\n"]
        for n in range(count):
            port = receiver.port if self.is_alive(n) else nobody
            tables.append(f'[[targets]]\ntopic = "t{n}"\nuser = "crew"\nurl = "http://127.0.0.1:{port}/{n}"\n')
        self._config.write_text("".join(tables))

    def is_alive(self, target: int) -> bool:
        return target % EACH_DEAD != 0

    @property
    def wanted(self) -> set[int]:
        """The numbers of all messages to targets that live."""
        return {n * MESSAGES + k for n in range(self.count) if self.is_alive(n) for k in range(MESSAGES)}

    def publish(self) -> None:
        """Subscribe, and publish all messages."""
        with Client(self.urls) as client:
            for n in range(self.count):
                client.subscribe(f"t{n}", "crew")
                first = ("hang", "204") if n % EACH_HANGING == 1 else ("204",)
                bodies = [task(n * MESSAGES + k, *first) if k == 0 else task(n * MESSAGES + k) for k in range(MESSAGES)]
                client.publish_many(f"t{n}", bodies)

    def start(self) -> subprocess.Popen[str]:
        words = ("--config", str(self._config), "--metrics-port", str(self.metrics_port), "--log-level", "error")
        self._process = process = start(",".join(self.urls), "forward", *words)
        wait_for(self.metrics, "metrics", PATIENCE_S)
        return process

    def close(self) -> None:
        """Kill the forwarder if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def metrics(self) -> Samples:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
                return samples(answer.read().decode())
        except OSError:
            return {}


def unreachable(found: Samples) -> float:
    """Return the number of requests that found nobody."""
    return sum(count for name, count in found.items() if name[0] == "attempts_total" and name[2] == "unreachable")


def forward_to_many(count: int) -> int:
    """Forward to this number of targets; print the figures. Return 1 where a message did not arrive."""
    with tempfile.TemporaryDirectory() as folder, Receiver() as receiver:
        cluster = Cluster(brokers=2, fronts=2, front_settings={"access_log": "off"})
        try:
            webhooks = Webhooks(count, Path(folder), cluster, receiver)
            try:
                webhooks.publish()
                figures = run(webhooks)
            finally:
                webhooks.close()
        finally:
            cluster.close()
    accepted = Counter(receiver.accepted())
    missing = webhooks.wanted - set(accepted)
    figures["messages to living targets"] = len(webhooks.wanted)
    figures["sent again after they were accepted"] = accepted.total() - len(accepted)
    print("\n".join(f"{name:44}{value:>12,.1f}" for name, value in figures.items()))
    print(f"VIOLATIONS: {len(missing)} messages are missing" if missing else "\nno violations")
    return 1 if missing else 0


def run(webhooks: Webhooks) -> dict[str, float]:
    """Kill the forwarder while it works, wait until all is done, and measure it idle. Return the figures."""
    for kill in range(KILLS):
        process = webhooks.start()
        enough = len(webhooks.wanted) * (kill + 1) // (KILLS + 3)
        wait_for(lambda enough=enough: len(webhooks.receiver.accepted()) >= enough, "some messages", PATIENCE_S)
        process.kill()
        process.communicate()
    process = webhooks.start()
    before, began = len(webhooks.receiver.received), time.monotonic()
    wait_for(lambda: webhooks.wanted <= set(webhooks.receiver.accepted()), "all messages", PATIENCE_S)
    rate = (len(webhooks.receiver.received) - before) / (time.monotonic() - began)
    before_idle, began = webhooks.metrics(), time.monotonic()
    time.sleep(IDLE_S)
    after, seconds = webhooks.metrics(), time.monotonic() - began
    cpu_s = after[CPU] - before_idle[CPU]
    tried = unreachable(after) - unreachable(before_idle)
    figures = {
        "targets": float(webhooks.count),
        "kills": float(KILLS),
        "requests per second at the end": rate,
        "memory, MiB": after[MEMORY] / 2**20,
        "idle: processor time, % of a core": 100 * cpu_s / seconds,
        "idle: requests per dead target and minute": tried / seconds * 60 / (webhooks.count / EACH_DEAD),
    }
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=60)
    figures["seconds to stop"] = time.monotonic() - began
    figures["exit code"] = float(process.returncode)
    return figures
