"""Server processes: start and stop them, and read their memory and CPU time."""

from __future__ import annotations

import http.client
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.harness.wires import IPC, describe, free_port
from common.cluster.description import load_cluster
from common.cluster.slots import ClusterMap
from common.process.environment import READY_FD, SUPERVISOR

BROKER_FLAGS = ("--memory=16GiB", "--max-messages=100000000", "--max-bytes=16GiB", "--max-delayed=100000000")
"""Flags that raise every limit out of reach: loads measure the normal path, not refusals."""
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 15.0
READY_PATH = "/readyz?strict=1"
"""A front answers this with a status below 400 once all brokers are ready."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement failed or its result would be invalid. The message is one line for the user."""


class Process:
    """A child process. It is terminated when this process dies, for whatever reason."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        """Start `python -m module`, with standard output and error appended to `log`."""
        self._ready, ready = os.pipe()
        env = {name: value for name, value in os.environ.items() if not name.startswith("FANMAIL_")}
        env |= {SUPERVISOR: str(os.getpid()), READY_FD: str(ready)}
        self.name = " ".join((module, *arguments))
        self.log = log
        self._began = time.perf_counter()
        with log.open("ab") as stream, open(ready, "wb"):
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(ready,),
            )
        self.pid = self._child.pid

    def ready(self, seconds: float) -> float:
        """Wait for the readiness message that brokers and fronts send to their supervisor; call it once.

        Returns the seconds since the start of the process. Raises `BenchError` after `seconds`, or if the process
        has ended.
        """
        heard = select.select([self._ready], [], [], seconds)[0]
        took = time.perf_counter() - self._began
        if not heard:
            raise BenchError(f"{self.name} was not ready after {seconds:g} s")
        if not os.read(self._ready, 1):
            self._child.wait(STOP_TIMEOUT_S)
            self.check()
        return took

    def check(self) -> None:
        """Raise `BenchError` with the last line of its log if the process has ended."""
        if self._child.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines() or ["(its log is empty)"]
            raise BenchError(f"{self.name} ended with {self._child.returncode}: {lines[-1]}")

    def rss(self) -> int:
        """Return the resident memory in bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the peak resident memory in bytes since `reset_peak`."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        """Reset `peak` (Linux, proc(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu(self) -> float:
        """Return the CPU time of all threads in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def kill(self) -> None:
        """Send SIGKILL."""
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process does not end. May be called twice."""
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise BenchError(f"{self.name} has ended")


class Group:
    """Processes that serve together, with a private directory for their files. A context manager."""

    def __init__(self) -> None:
        self.run_dir = Path(tempfile.mkdtemp(prefix="fanmail-bench-"))  # mode 0700
        self.processes: list[Process] = []
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes):  # fronts before brokers
            process.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def start(self, module: str, *arguments: str) -> Process:
        """Start a process of the group."""
        process = Process(module, *arguments, log=self.run_dir / f"{len(self.processes)}.log")
        self.processes.append(process)
        return process

    def start_http(self, module: str, path: str, *arguments: str) -> Process:
        """Start a process on a free port and wait until `GET path` has a status below 400."""
        port = free_port()
        process = self.start(module, f"--port={port}", *arguments)
        self.ports.append(port)
        wait_until(lambda: _answers(port, path), process)
        return process

    def start_program(self, port: int, *command: str) -> Process:
        """Start any program and wait until it listens on `port`."""
        process = self.start("bench.harness.program", *command)
        self.ports.append(port)
        wait_until(lambda: _listens(port), process)
        return process


class Cluster(Group):
    """Brokers and, optionally, fronts."""

    def __init__(
        self,
        brokers: int,
        fronts: int = 0,
        *,
        access_log: bool = False,
        broker_flags: tuple[str, ...] = (),
        front_flags: tuple[str, ...] = (),
        wire: str = IPC,
    ) -> None:
        super().__init__()
        description = self.run_dir / "cluster.toml"
        text, self.keys = describe(brokers, self.run_dir, wire)
        description.write_text(text)
        self.map: ClusterMap = load_cluster(description, insecure=True)
        secured = f"--curve-dir={self.run_dir}" if self.keys else "--insecure"
        place = (f"--run-dir={self.run_dir}", secured)
        of_front = (*place, f"--access-log={'on' if access_log else 'off'}", *front_flags)
        self._broker_flags = (*place, *broker_flags)
        try:
            self.brokers = [self.start("broker", f"--id=b{n}", *self._broker_flags) for n in range(brokers)]
            self.ops_ports = [free_port() for _ in range(fronts)]
            self.fronts = [
                self.start_http("httpfront", READY_PATH, *of_front, f"--ops-port={port}") for port in self.ops_ports
            ]
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def watched(self) -> dict[str, Process]:
        """Return the first front and the first broker."""
        return {"front": self.fronts[0], "broker": self.brokers[0]}

    def restart(self, number: int, seconds: float) -> float:
        """Restart a broker and return the seconds from its start until it is ready; at most `seconds`."""
        stopped = self.brokers[number]
        stopped.stop()
        fresh = Process("broker", f"--id=b{number}", *self._broker_flags, log=stopped.log)
        self.brokers[number] = self.processes[self.processes.index(stopped)] = fresh
        return fresh.ready(seconds)


def wait_until(ready: Callable[[], object], process: Process) -> None:
    """Poll until `ready()`. Raises `BenchError` after `START_TIMEOUT_S`, or if the process has ended."""
    ends = time.monotonic() + START_TIMEOUT_S
    while not ready():
        process.check()
        if time.monotonic() > ends:
            raise BenchError(f"{process.name} was not ready after {START_TIMEOUT_S:g} s")
        time.sleep(0.02)


def wait_for_front(port: int, front: Process) -> None:
    """Wait until a front finds all its brokers ready. Raises `BenchError` after `START_TIMEOUT_S`."""
    wait_until(lambda: _answers(port, READY_PATH), front)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except OSError:
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
