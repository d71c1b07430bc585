"""1,000 messages of 64 KiB published and read through one front: MB per second, and memory afterwards."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Any

from bench.harness.measurement import Options, Row, Section, at_most, progress, ratio, round_order
from bench.harness.processes import BenchError, Cluster, Group, Process
from common.units import MIB

MESSAGES = 1000
SIZE = 64 * 1024
CONNECTIONS = 4
BODY = bytes(range(256)) * (SIZE // 256)
SETTLE_S = 1.0
"""Seconds between the last answer and the reading of memory."""
KEPT_AIM = 0.1
"""Fraction of the published bytes that may still be held when all are read."""

_PUBLISH = b"POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY
_READ = b"GET /large/user HTTP/1.1\r\nHost: localhost\r\n\r\n"
_SUBSCRIBE = b"POST /large/user HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


def measure(options: Options) -> Section:
    """Measure, interleaved with a bare application on waitress that reads and returns as many bytes."""
    speeds: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(Cluster(1, 1))
        bare = stack.enter_context(Group())
        bare.start_http("bench.rivals.bare", "/", "--server=waitress", f"--size={SIZE}")
        servers = {"Fanmail": ours.ports[0], "waitress": bare.ports[0]}
        subscribe(ours.ports[0])
        watched = {"broker": ours.brokers[0], "front": ours.fronts[0]}
        memory = {name: _Memory(process) for name, process in watched.items()}

        def load(name: str, kind: str, request: bytes, size: int) -> None:
            processes = watched if name == "Fanmail" else {"bare": bare.processes[0]}
            before = {each: process.cpu() for each, process in processes.items()}
            speeds.setdefault(f"{name} {kind}", []).append(_load(servers[name], request, MESSAGES, size))
            for each, process in processes.items():
                cost = (process.cpu() - before[each]) / MESSAGES * 1e6
                costs.setdefault(f"{each} {kind}", []).append(cost)

        for number in range(options.rounds):
            for name in round_order(servers, number):
                load(name, "publish", _PUBLISH, 0)
                load(name, "read", _READ, SIZE)
            time.sleep(SETTLE_S)
            for each in memory.values():
                each.sample()
            progress(f"large bodies, round {number + 1}/{options.rounds}")
    title = f"{MESSAGES:,} messages of 64 KiB through one front, {CONNECTIONS} connections"
    section = Section(title, "bare Falcon application on", "µs of CPU per message")
    section.rows = [_speed_row(kind, speeds, costs) for kind in ("publish", "read")]
    section.rows += [_memory_row(name, each) for name, each in memory.items()]
    memory_data = {name: each.raw() for name, each in memory.items()}
    section.data = {"mb_per_second": speeds, "cpu": costs, "memory": memory_data}
    return section


class _Memory:
    """Resident memory of one process in bytes."""

    def __init__(self, process: Process) -> None:
        self._process = process
        process.reset_peak()
        self.before = process.rss()
        self.peak = 0
        self.after: list[int] = []
        """At the end of each round, when everything is read."""

    def sample(self) -> None:
        """Record the memory at the end of a round."""
        self.peak = self._process.peak()
        self.after.append(self._process.rss())

    def raw(self) -> dict[str, Any]:
        """Return the figures for `results.json`."""
        return {"before": self.before, "peak": self.peak, "after": self.after}


def _speed_row(kind: str, speeds: dict[str, list[float]], costs: dict[str, list[float]]) -> Row:
    ours, bare = speeds[f"Fanmail {kind}"], speeds[f"waitress {kind}"]
    cost = ", ".join(f"{name} {median(costs[f'{name} {kind}']):.0f}" for name in ("front", "broker", "bare"))
    against = f"waitress {median(bare):.0f} MB/s"
    return Row(kind, f"{median(ours):.0f} MB/s", against, ratio(ours, bare), remark=cost)


def _memory_row(name: str, memory: _Memory) -> Row:
    shown = f"{memory.before / MIB:.0f} MiB, peak {memory.peak / MIB:.0f}, all read {memory.after[-1] / MIB:.0f}"
    published = MESSAGES * SIZE
    kept = max(0, memory.after[-1] - memory.before) / published
    aim, met = at_most(kept, KEPT_AIM)
    against = f"published in total {published / MIB:.0f} MiB"
    return Row(f"memory of the {name}", shown, against, kept, aim, met, "the ratio is the fraction still held")


def subscribe(port: int) -> None:
    """Create the subscription that `publish` and `read` use."""
    _load(port, _SUBSCRIBE, 1, 0)


def publish(port: int, count: int) -> float:
    """Publish `count` bodies; return MB per second."""
    return _load(port, _PUBLISH, count, 0)


def read(port: int, count: int) -> float:
    """Read `count` published bodies; return MB per second."""
    return _load(port, _READ, count, SIZE)


def _load(port: int, request: bytes, count: int, size: int) -> float:
    """Send a request `count` times over `CONNECTIONS` connections; return MB per second at `SIZE` bytes each.

    Raises `BenchError` for an answer other than 200 with `size` bytes.
    """

    def share(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(number, count, CONNECTIONS):
                connection.sendall(request)
                _expect(connection, size)

    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(share, range(CONNECTIONS)))
    return count * SIZE / 1e6 / (time.perf_counter() - began)


def _expect(connection: socket.socket, size: int) -> None:
    head, body = b"", 0
    while b"\r\n\r\n" not in head:
        head += _receive(connection)
    head, _, rest = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or b"content-length: %d\r\n" % size not in head.lower() + b"\r\n":
        raise BenchError(f"not a 200 of {size} bytes: {head[:200].decode('latin-1')!r}")
    body = len(rest)
    while body < size:
        body += len(_receive(connection))


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(256 * 1024)
    if not data:
        raise BenchError("the server closed the connection")
    return data
