"""Run wrk and parse its result."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.harness.processes import BenchError, Process

CONNECTIONS = 32
REQUEST_TIMEOUT_S = 10
"""Seconds per request; long enough that a busy machine does not fail a measurement."""
_SCRIPT = Path(__file__).with_name("load.lua")


Watched = Mapping[str, Sequence[Process]]
"""The loaded processes, by the names under which their CPU time is reported."""


class Load(NamedTuple):
    """What wrk sends: `kind` is get or post; requests cycle over `topics` topics.

    `headers` are few, or proxied: the thirteen of a client behind a proxy, with an id of each request and its trace.
    """

    kind: str
    topics: int
    headers: str = "few"


class Run(msgspec.Struct):
    """The result of one run of wrk. Latencies in milliseconds."""

    seconds: float
    requests: int
    bytes: int
    p50: float
    p99: float
    status: int
    """Number of answers of 400 and above."""
    socket: int
    timeout: int
    cpu: dict[str, float] = {}
    """Microseconds of CPU time per request, by the names in `Watched`."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def run(load: Load, ports: Sequence[int], seconds: int, watched: Watched, connections: int = CONNECTIONS) -> Run:
    """Load all ports with `connections` connections in total, one wrk thread per port.

    Raises `BenchError` for answers of 400 and above, for timeouts, and if wrk fails.
    """
    command = [
        "wrk",
        f"-t{len(ports)}",
        f"-c{connections}",
        f"-d{seconds}s",
        f"--timeout={REQUEST_TIMEOUT_S}s",
        "-s",
        str(_SCRIPT),
    ]
    command += [f"http://127.0.0.1:{ports[0]}/", "--", load.kind, str(load.topics), load.headers]
    env = os.environ | {"BENCH_PORTS": " ".join(map(str, ports))}
    before = _cpu(watched)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds + 60, check=False)
    after = _cpu(watched)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise BenchError(f"wrk failed: {(done.stderr.strip() or done.stdout.strip())[-200:]}")
    result = msgspec.json.decode(lines[-1], type=Run)
    if result.status or result.timeout or not result.requests:
        raise BenchError(f"wrk saw {result.status} errors and {result.timeout} timeouts: {lines[-1]}")
    result.cpu = {name: (after[name] - before[name]) / result.requests * 1e6 for name in watched}
    return result


def _cpu(watched: Watched) -> dict[str, float]:
    return {name: sum(process.cpu() for process in processes) for name, processes in watched.items()}
