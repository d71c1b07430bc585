"""Where a front and a broker spend CPU time under publish load, sampled by py-spy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.harness.measurement import Options, Row, Section, progress
from bench.harness.processes import BROKER_FLAGS, BenchError, Cluster, Process
from bench.loads import wrk
from bench.loads.broker_client import NOTHING, ClusterClient
from common.protocol.ops import Op

TOP = 20
RATE = 250
"""Samples per second."""
TOPICS = 64


def measure(options: Options, out: Path) -> Section:
    """Write `profile-front.txt` and `.svg` and those of the broker to `out`; the table lists the top functions.

    A sample counts for the function it was taken in (own) and for all its callers (with callees).
    """
    section = Section("Profile under publish load: share of samples", "with callees")
    with Cluster(1, 1, broker_flags=BROKER_FLAGS) as ours, ClusterClient(ours.map) as client:
        client.run((Op.SUBSCRIBE, b"t%d" % n, b"u", NOTHING) for n in range(TOPICS))
        seconds = max(options.seconds, 3)
        for name, process in (("front", ours.fronts[0]), ("broker", ours.brokers[0])):
            raw = _record(process, seconds, ours.ports, out / f"profile-{name}")
            section.rows += _rows(name, raw)
            progress(f"profile of the {name}")
    return section


def _record(process: Process, seconds: int, ports: list[int], path: Path) -> dict[str, int]:
    """Return the number of samples per stack. Raises `BenchError` if py-spy may not attach."""
    load = wrk.Load("post", TOPICS)
    stacks: dict[str, int] = {}
    for kind, suffix in (("flamegraph", ".svg"), ("raw", ".txt")):
        target = path.with_suffix(suffix)
        spy = _spy(process.pid, seconds, kind, target)
        try:
            wrk.run(load, ports, seconds + 1, {})
            _, complaint = spy.communicate(timeout=30)
        finally:
            spy.kill()
            spy.wait()
        if spy.returncode or not target.exists():
            raise BenchError(f"py-spy failed (it needs ptrace: root, or a parent): {complaint.strip()[-200:]}")
    for line in path.with_suffix(".txt").read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[stack] = stacks.get(stack, 0) + int(count)
    return stacks


def _spy(pid: int, seconds: int, kind: str, target: Path) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("py-spy")
    command = [str(program), "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE)]
    command += ["--format", kind, "--function", "--output", str(target)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )


def _rows(name: str, stacks: dict[str, int]) -> list[Row]:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        frames = stack.split(";") if stack else ["(unknown)"]
        own[frames[-1]] += count
        for frame in set(frames):
            whole[frame] += count
    total = sum(stacks.values())
    return [
        Row(f"{name}: {frame}", f"{count / total:.1%}", f"{whole[frame] / total:.1%}")
        for frame, count in own.most_common(TOP)
    ]
