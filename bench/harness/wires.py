"""Cluster descriptions for ipc, plain TCP on loopback, and TCP with CURVE."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from common.cluster.description import FRONT, describe_local
from common.keys.curve import SECRET, KeyPair, new_pair, secret_path

IPC, TCP, CURVE = "ipc", "TCP", "TCP with CURVE"


def describe(brokers: int, run_dir: Path, wire: str) -> tuple[str, KeyPair | None]:
    """Return the description and, with CURVE, the key pair of the fronts; secret keys are written to `run_dir`."""
    if wire == IPC:
        return describe_local(brokers, run_dir), None
    front = new_pair() if wire == CURVE else None
    rows = []
    for name in [f"b{n}" for n in range(brokers)]:
        rows.append(f'[[brokers]]\nid = "{name}"\nendpoint = "tcp://127.0.0.1:{free_port()}"')
        if front:
            rows.append(f'key = "{_save(run_dir, name, new_pair()).public.decode()}"')
    if front:
        rows.append(f'[[fronts]]\nname = "{FRONT}"\nkey = "{_save(run_dir, FRONT, front).public.decode()}"')
    return "\n".join(rows), front


def _save(folder: Path, name: str, pair: KeyPair) -> KeyPair:
    with open(os.open(secret_path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f'{SECRET} = "{pair.secret.decode()}"\n')
    return pair


def free_ports(count: int) -> int:
    """Return the first of `count` neighbouring TCP ports that are free at the moment."""
    while True:
        first = free_port()
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


def free_port() -> int:
    """Return a TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
