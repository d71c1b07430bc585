"""Brokers and fronts without the third of a second for which each would import its modules.

One process per test run has imported them, and is forked for each process of a test, which then runs its module as
`python -m` does. It becomes a child of the test run and ends with it, as if the test run had started it. What `bin`
starts, runs with other programs before it or in another environment is started in the ordinary way.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from ctypes import CDLL
from pathlib import Path
from typing import Any

PRELOADED = ("broker.__main__", "httpfront.__main__", "broker.store.sqlite.store", "tests.support.faulty_store")
"""What is imported before the forks; mains are run anew."""
MAINS = ("broker", "httpfront", "tests.support.faulty_broker", "tests.support.hasty_front")
"""Modules that may be run."""
ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 65536
MOST_CHECKS = 20_000
"""Ten seconds, in which an orphan gets its parent."""
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_prctl = CDLL(None).prctl


def network() -> str:
    """Return the network namespace of this thread."""
    return str(Path("/proc/thread-self/ns/net").readlink())


class Forked(subprocess.Popen[bytes]):
    """A child process that exists already."""

    def __init__(self, pid: int, args: Sequence[str]) -> None:
        self._forked = pid
        super().__init__(args)

    def _execute_child(self, *_: Any) -> None:
        self.pid, self._child_created = self._forked, True


class ForkServer:
    """The process that is forked. Used by the main thread only."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.network = network()
        """The network namespace of what it forks."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "tests.e2e.fork_server", str(theirs.fileno())]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, cwd=ROOT, env=environ, pass_fds=[theirs.fileno()]
            )

    def start(self, argv: Sequence[str], log: int, cwd: Path) -> Forked:
        """Run `python -m ARGV` with its output to the descriptor `log`."""
        limits = [(each, *resource.getrlimit(each)) for each in LIMITS]
        request = json.dumps({"argv": argv, "cwd": str(cwd), "parent": os.getpid(), "limits": limits}).encode()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # an orphan becomes a child of this process
        try:
            socket.send_fds(self._socket, [request], [log])
            pid = int(self._socket.recv(MOST_BYTES))
        finally:
            _prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return Forked(pid, argv)


def next_fork(connection: socket.socket) -> dict[str, Any]:
    """Fork for each request until the test run ends. Return in the fork, which is a child of the test run then."""
    while True:
        request, descriptors, *_ = socket.recv_fds(connection, MOST_BYTES, 1)
        if not request:
            sys.exit(0)
        wanted: dict[str, Any] = json.loads(request)
        between = os.fork()
        if not between:
            if os.fork():
                os._exit(0)  # this makes the other one an orphan
            for _ in range(MOST_CHECKS):
                if os.getppid() == wanted["parent"]:
                    break
                time.sleep(0.0005)
            else:
                os._exit(1)  # the test run has ended
            _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            os.dup2(descriptors[0], 1)
            os.dup2(descriptors[0], 2)
            connection.send(str(os.getpid()).encode())
            connection.detach()
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            return wanted
        os.waitpid(between, 0)
        os.close(descriptors[0])


def run(wanted: dict[str, Any]) -> None:
    """Become what a process of `python -m` is after its imports, and run the module."""
    for limit, *values in wanted["limits"]:
        resource.setrlimit(limit, tuple(values))
    os.chdir(wanted["cwd"])
    random.seed()
    sys.argv = wanted["argv"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.endswith(".__main__")]:
        del sys.modules[name]
    run(next_fork(socket.socket(fileno=int(sys.argv[1]))))
