"""Nobody reads standard error: serving, restarting and stopping continue."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import PATIENCE, ROOT, Client, clean_environ, die_with_the_tests, free_ports, is_ready, wait_for

pytestmark = pytest.mark.slow


class Stuck:
    """Processes whose standard error is a full pipe that nobody reads."""

    def __init__(self) -> None:
        self.ends = os.pipe()
        fcntl.fcntl(self.ends[1], fcntl.F_SETPIPE_SZ, 4096)
        os.write(self.ends[1], bytes(4096))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=ROOT,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=self.ends[1],
            stderr=self.ends[1],
            preexec_fn=die_with_the_tests,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(PATIENCE)
        for end in self.ends:
            os.close(end)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.close()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_all_goes_on_though_nobody_reads_the_log(stuck: Stuck, folder: Path) -> None:
    port = free_ports(2)
    brokers = stuck.start("broker.start", "1", f"--run-dir={folder}/run", "--log-level=debug")
    ports = (f"--port={port}", f"--ops-port={port + 1}")
    fronts = stuck.start("httpfront.start", "1", *ports, f"--run-dir={folder}/run")
    wait_for(lambda: is_ready(port), "the front")
    web = Client(port)
    web.subscribe("t", "u")
    (victim,) = children(brokers)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: children(brokers) not in ([], [victim]), "the restart")
    wait_for(lambda: is_ready(port), "the front")
    assert web.subscribe("t", "u").status == 200
    web.close()
    for process in (fronts, brokers):
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_start_that_is_refused_ends(stuck: Stuck, folder: Path) -> None:
    assert stuck.start("broker", f"--run-dir={folder}/run", "--memory=none").wait(PATIENCE) == 2
