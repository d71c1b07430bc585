"""Runs wrk and reads what it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.harness.processes import BenchError, Process

CONNECTIONS = 32
TIMEOUT = 10
"""Seconds that a request may take: a busy machine must not end a measurement."""
_SCRIPT = Path(__file__).with_name("load.lua")


Watched = Mapping[str, Sequence[Process]]
"""The processes that are loaded, under the names their processor time is reported by."""


class Load(NamedTuple):
    """What wrk sends: `kind` is get or post; the paths go round over so many topics."""

    kind: str
    topics: int


class Run(msgspec.Struct):
    """What one run of wrk came to. Latencies in milliseconds."""

    seconds: float
    requests: int
    bytes: int
    p50: float
    p99: float
    status: int
    """Answers of 400 and above."""
    socket: int
    timeout: int
    cpu: dict[str, float] = {}
    """Microseconds of processor time a request, by the names given for the loaded processes."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def run(load: Load, ports: Sequence[int], seconds: int, watched: Watched, connections: int = CONNECTIONS) -> Run:
    """Loads all ports with so many connections in all, one thread of wrk for each port.

    Raises `BenchError` for answers of 400 and above, for timeouts, and for a wrk that fails.
    """
    command = [
        "wrk",
        f"-t{len(ports)}",
        f"-c{connections}",
        f"-d{seconds}s",
        f"--timeout={TIMEOUT}s",
        "-s",
        str(_SCRIPT),
    ]
    command += [f"http://127.0.0.1:{ports[0]}/", "--", load.kind, str(load.topics)]
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
