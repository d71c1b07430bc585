"""HAProxy in front of one front: what a request costs that comes through a proxy."""

from __future__ import annotations

import shutil

from bench.harness.processes import Group
from bench.harness.wires import free_port

_CONFIGURATION = """
global
    maxconn 2000
    nbthread 1
defaults
    mode http
    option abortonclose
    timeout client 60s
    timeout connect 5s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
    default_backend fronts
backend fronts
    http-reuse safe
    server front 127.0.0.1:{front}
"""


def missing() -> str:
    """Return why this cannot be measured, or ""."""
    return "" if shutil.which("haproxy") else "haproxy is not installed"


def start(group: Group, front: int) -> None:
    """Start HAProxy on a free port of `group`, in front of the port `front`."""
    port = free_port()
    configuration = group.run_dir / "haproxy.cfg"
    configuration.write_text(_CONFIGURATION.format(port=port, front=front))
    group.start_program(port, "haproxy", "-db", "-f", str(configuration))
