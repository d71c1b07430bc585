"""Process 1 of a container reaps what others leave behind. Each test has a namespace of process ids of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
ORPHAN = """
import os, subprocess, sys, time
from common.process.orphans import leave_orphans_to_the_kernel, reap_orphans
assert os.getpid() == 1
def orphan():
    if os.fork() == 0:
        if os.fork() == 0:
            while os.getppid() != 1:
                time.sleep(0.001)
        os._exit(0)
def states():
    found = []
    for each in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.append(open(f"/proc/{each}/stat").read().split()[2])
        except (FileNotFoundError, ProcessLookupError):
            pass  # reaped in between
    return found
"""
IGNORED = f"{ORPHAN}\nleave_orphans_to_the_kernel()\norphan()\nwhile len(states()) > 1: time.sleep(0.005)\n"
REAPED = f"{ORPHAN}\norphan()\nown = subprocess.Popen(['true'])\nwhile states().count('Z') < 3: time.sleep(0.005)\n"
REAPED += "for _ in range(3): reap_orphans({own.pid}); own.poll()\n"
REAPED += "assert (states().count('Z'), own.returncode) == (0, 0)\n"


@pytest.mark.parametrize("code", [IGNORED, REAPED], ids=["by the kernel", "by a supervisor"])
def test_orphans_leave_no_zombies(code: str) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a namespace of process ids needs root and unshare(1)")
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", code]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
