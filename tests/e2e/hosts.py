"""Hosts in network namespaces, joined by a switch in a namespace of its own. Needs Linux and root.

The rest of the machine is not affected: all addresses and interfaces are in namespaces that are created here under
names of their own, and are removed with them.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Process

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
FRONTS = 3
"""The host of the fronts and of the tests. Brokers are on the previous ones."""
NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has."""


def need_namespaces() -> None:
    """Skip a test where there cannot be network namespaces, or fail it in CI."""
    able = os.geteuid() == 0 and all(map(shutil.which, ("ip", "nsenter"))) and _works()
    if not able:
        assert not os.environ.get("CI"), "network namespaces need root, ip (iproute2) and nsenter (util-linux)"
        pytest.skip("network namespaces need root, ip (iproute2) and nsenter (util-linux)")


def _works() -> bool:
    """Return whether namespaces can be created. In many containers not even root can do that."""
    name = f"fanmail-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


class Network:
    """Hosts 1 to `FRONTS` with the addresses 10.77.0.1 and so on. Close it when nothing runs in it any more."""

    def __init__(self) -> None:
        run = secrets.token_hex(4)
        self._switch = f"fanmail-{run}-switch"
        self._hosts = {number: f"fanmail-{run}-{number}" for number in range(1, FRONTS + 1)}
        self._port = 7100
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        for name in (self._switch, *self._hosts.values()):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for number, host in self._hosts.items():
            port = f"port{number}"
            _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", host, "addr", "add", f"{address(number)}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", self._switch, "link", "set", port, "up", "master", "bridge")

    def next_port(self) -> int:
        """Return a port that no broker of this network has."""
        self._port += 1
        return self._port

    def command(self, number: int) -> list[str]:
        """Return the prefix of a command line that is to run on a host. The process keeps its id."""
        return ["nsenter", f"--net=/run/netns/{self._hosts[number]}"]

    @contextmanager
    def on(self, number: int) -> Iterator[None]:
        """Move this thread, and all threads, processes and sockets that it creates meanwhile, to a host."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self._hosts[number]}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def unplug(self, number: int) -> None:
        """Unplug the cable of a host, which notices that there is no carrier."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "down")

    def isolate(self, number: int) -> None:
        """Make the switch silently drop all packets of and for a host."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "nomaster")

    def cut(self, sender: int, receiver: int) -> None:
        """Lose all packets of one host for another, silently and in this direction only."""
        _ip("-n", self._hosts[sender], *_neighbour("replace", receiver), "lladdr", NOBODY, "nud", "permanent")

    def join(self, sender: int, receiver: int) -> None:
        """Undo `cut`."""
        _ip("-n", self._hosts[sender], *_neighbour("del", receiver))

    def mend(self, number: int) -> None:
        """Undo `unplug` or `isolate`."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "up", "master", "bridge")

    def close(self) -> None:
        """Remove everything that was created so far."""
        for name in (*self._hosts.values(), self._switch):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)


class HostsCluster(Cluster):
    """A cluster with b0 on host 1, b1 on host 2, b2 on host 1 and so on; fronts on the last, over TCP with CURVE."""

    def __init__(self, network: Network, *args: Any, **kwargs: Any) -> None:
        """Start a cluster, with the arguments of `Cluster`. Create and use it `on` the host of the fronts."""
        self.network = network
        super().__init__(*args, **kwargs, curve=True)

    def addresses(self, ids: list[str]) -> Mapping[str, str]:
        return {each: f"tcp://{address(host_of(each))}:{self.network.next_port()}" for each in ids}

    def start_broker(self, broker_id: str, *module: str, **settings: object) -> Process:
        self.prefix = self.network.command(host_of(broker_id))
        try:
            return super().start_broker(broker_id, *module, **settings)
        finally:
            self.prefix = []


def address(number: int) -> str:
    """Return the address of a host."""
    return f"10.77.0.{number}"


def host_of(broker_id: str) -> int:
    """Return the host that a broker runs on."""
    return int(broker_id.removeprefix("b")) % (FRONTS - 1) + 1


def _neighbour(what: str, number: int) -> list[str]:
    return ["neigh", what, address(number), "dev", "eth0"]


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
