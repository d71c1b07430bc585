"""Descriptions of clusters whose fronts and brokers talk over ipc, plain TCP on loopback, or TCP with CURVE."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from common.cluster.description import FRONT, describe_local
from common.keys.curve import SECRET, KeyPair, new_pair, secret_path

IPC, TCP, CURVE = "ipc", "TCP", "TCP with CURVE"


def describe(brokers: int, run_dir: Path, wire: str) -> tuple[str, KeyPair | None]:
    """The description, and with CURVE the key of the fronts; the secret keys are in `run_dir` then."""
    if wire == IPC:
        return describe_local(brokers, run_dir), None
    front = new_pair() if wire == CURVE else None
    rows = []
    for name in [f"b{n}" for n in range(brokers)]:
        rows.append(f'[[brokers]]\nid = "{name}"\nendpoint = "tcp://127.0.0.1:{free_port()}"')
        if front:
            rows.append(f'key = "{_kept(run_dir, name, new_pair()).public.decode()}"')
    if front:
        rows.append(f'[[fronts]]\nname = "{FRONT}"\nkey = "{_kept(run_dir, FRONT, front).public.decode()}"')
    return "\n".join(rows), front


def _kept(folder: Path, name: str, pair: KeyPair) -> KeyPair:
    with open(os.open(secret_path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f'{SECRET} = "{pair.secret.decode()}"\n')
    return pair


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
