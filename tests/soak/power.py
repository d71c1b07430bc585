"""Rounds of load while machines lose power: what was not synced is gone, of NATS nodes and of candidates."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.replicated import HOSTS, ReplicatedCluster
from tests.soak.replicated import ReplicatedSoak, settings_of_fronts
from tests.support.forgetful_disk import Disk
from tests.support.nats_cluster import NatsCluster, Node


class PoweredCluster(ReplicatedCluster):
    """The stores of each host are on a disk of its own, by host in `disks`."""

    def _describe(self, brokers: int, supervised: bool) -> None:
        super()._describe(brokers, supervised)
        self.disks = {host: Disk(self.folder / f"{host}-disk", self.folder / host) for host in HOSTS}

    def close(self) -> None:
        """Kill everything, and end the disks."""
        for process in self.processes:
            process.kill()
        for disk in self.disks.values():
            disk.close()
        super().close()


class PowerSoak(ReplicatedSoak):
    """One broker: host `h1` is the NATS node 0 and a candidate, `h2` node 1 and a candidate, and node 2 is alone."""

    def __init__(self, seed: int, round_seconds: float, pace_s: float, **options: Any) -> None:
        """Start servers and candidates on such disks. `options` are those of `NatsCluster`."""
        self.disks: list[Disk] = []

        def place(node: Node) -> None:
            self.disks.append(Disk(node.folder / "disk", node.folder / "js"))

        nats = NatsCluster(place=place, **options)
        cluster = PoweredCluster(nats, brokers=1, fronts=1, front_settings=settings_of_fronts())
        super().__init__(nats, cluster, seed, round_seconds, pace_s)
        self.cluster: PoweredCluster = cluster
        self.faults = {
            "power loss, a NATS node": self._one_node,
            "power loss, all NATS nodes": self._all_nodes,
            "power loss, the owner's host": self._owners_host,
            "power loss, everything": self._everything,
        }

    def close(self) -> None:
        """Nothing is left behind."""
        for node in self.nats.nodes:
            if node.process is not None and node.process.running:
                node.process.kill()
        for disk in self.disks:
            disk.close()
        super().close()

    def _one_node(self) -> None:
        self._lose_power("a NATS node", [self.rng.randrange(len(self.nats.nodes))], [])

    def _all_nodes(self) -> None:
        self._lose_power("all NATS nodes", list(range(len(self.nats.nodes))), [])

    def _owners_host(self) -> None:
        host = self.cluster.owner(self._chosen()).partition("@")[2]
        self._lose_power("the owner's host", [HOSTS.index(host)], [host])

    def _everything(self) -> None:
        self._lose_power("everything", list(range(len(self.nats.nodes))), list(HOSTS))

    def _lose_power(self, what: str, nodes: list[int], hosts: list[str]) -> None:
        """Kill nodes, and the candidates of hosts; forget what was not synced; start the nodes, and the rest."""
        for name, process in self.cluster.candidates.items():
            if name.partition("@")[2] in hosts:
                process.kill()
        for node in nodes:
            self.nats.kill(node)
        lost = [self.disks[node].forget() for node in nodes] + [self.cluster.disks[host].forget() for host in hosts]
        self.figures.faults["bytes that were not synced"] += sum(lost)
        began = time.monotonic()
        self.nats.restore()
        for name, process in list(self.cluster.candidates.items()):
            if not process.running:
                self.cluster.start_broker(name)
        self._outage(self._chosen(), f"{what}, since power is back", began)
        self.mend()
