"""Ports of fronts that are started together, and their locks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import StartError
from common.process.listeners import open_listeners
from common.process.locks import await_lock


def ports_of(first: int, fronts: int, name: str = "--port") -> list[int]:
    """Return the port of each front; all are 0, a free port, if `first` is.

    Raises `StartError` beyond 65535, with the name of the setting.
    """
    if first == 0:
        return [0] * fronts
    last = first + fronts - 1
    if last > 65535:
        raise StartError(f"{name} {first} and {fronts} fronts: port {last} is over 65535")
    return list(range(first, last + 1))


def check_apart(ports: Sequence[int], ops_ports: Sequence[int]) -> None:
    """Raise `StartError` where a public port would be an operations port too."""
    both = sorted({*ports} & {*ops_ports} - {0})
    if both:
        fronts = "front" if len(ports) == 1 else "fronts"
        flags = f"--port {ports[0]} and --ops-port {ops_ports[0]}"
        raise StartError(f"{flags} overlap: port {both[0]} would be both, with {len(ports)} {fronts}")


def front_lock(run_dir: str | Path, hosts: Sequence[str], port: int) -> Path:
    """Return the path of the lock of the front on a port."""
    return Path(run_dir) / f"front-{'+'.join(hosts).replace('/', '_')}-{port}.lock"


def await_fronts(run_dir: str | Path, hosts: Sequence[str], ports: Iterable[int], patience: float) -> None:
    """Wait up to `patience` seconds for fronts that are stopping and may still use their ports."""
    for port in ports:
        if port:
            await_lock(front_lock(run_dir, hosts, port), patience)


def check_ports(hosts: Sequence[str], ports: Iterable[int]) -> None:
    """Raise `StartError` if a front could not listen, before any is started."""
    for port in ports:
        for sock in open_listeners(hosts, port):
            sock.close()
