"""Rounds of load while hosts are cut off from each other: a NATS node on each of three, candidates on two of them.

Fronts reach candidates over Unix sockets at all times, so a candidate that is cut off from the log is asked all the
more.
"""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.cluster import Process
from tests.e2e.hosts import FRONTS, Network, address
from tests.e2e.replicated import HOSTS, ReplicatedCluster
from tests.soak.outages import answers, ask_paused
from tests.soak.replicated import ReplicatedSoak, settings_of_fronts
from tests.support.nats_cluster import NatsCluster, Node

SHORT_S, LONG_S = 2.0, 12.0
"""Of a partition."""
ALL = range(1, FRONTS + 1)


class HostedCluster(ReplicatedCluster):
    """Candidates are on the hosts with the numbers of their names, fronts and tests on the last."""

    def __init__(self, network: Network, nats: NatsCluster, **options: Any) -> None:
        """As `ReplicatedCluster`."""
        self.network = network
        super().__init__(nats, broker_settings={"insecure": True}, **options)

    def spawn(self, name: str, *argv: str) -> Process:
        """Start a process on its host."""
        _, _, host = name.partition("@")
        self.prefix = self.network.command(number_of(host) if host else FRONTS)
        return super().spawn(name, *argv)


class PartitionedSoak(ReplicatedSoak):
    """To be made and used `on` the host of the fronts."""

    def __init__(self, network: Network, seed: int, round_seconds: float, pace_s: float, brokers: int = 2) -> None:
        """Start a NATS node on each host, and a cluster."""

        def place(node: Node) -> None:
            number = int(node.name.removeprefix("n")) + 1
            node.address, node.prefix = address(number), network.command(number)

        self.network = network
        nats = NatsCluster(place=place)
        cluster = HostedCluster(network, nats, brokers=brokers, fronts=1, front_settings=settings_of_fronts())
        super().__init__(nats, cluster, seed, round_seconds, pace_s)
        self.longest_s = LONG_S
        self.faults = {
            "host of the owner cut off": self._cut_off_owner,
            "host of the leader cut off": self._cut_off_leader,
            "one way, from the owner's host": self._cut_from_owner,
            "one way, to the owner's host": self._cut_to_owner,
            "all hosts apart": self._cut_all,
        }

    def _cut_off_owner(self) -> None:
        self._isolate(lambda broker: [self._host_of_owner(broker)])

    def _cut_off_leader(self) -> None:
        self._isolate(lambda broker: [self._leader(broker) + 1])

    def _cut_all(self) -> None:
        self._isolate(lambda _: list(ALL))

    def _isolate(self, choose: Any) -> None:
        broker = self._chosen()
        hosts = choose(broker)
        self._apart(broker, [(one, other) for one in ALL for other in ALL if one != other and {one, other} & {*hosts}])

    def _cut_from_owner(self) -> None:
        broker = self._chosen()
        host = self._host_of_owner(broker)
        self._apart(broker, [(host, other) for other in ALL if other != host])

    def _cut_to_owner(self) -> None:
        broker = self._chosen()
        host = self._host_of_owner(broker)
        self._apart(broker, [(other, host) for other in ALL if other != host])

    def _apart(self, broker: str, ways: list[tuple[int, int]]) -> None:
        """Cut these ways for some time. A former owner must not say anything that an owner may say."""
        name, seconds = self.cluster.owner(broker), self.rng.uniform(SHORT_S, self.longest_s)
        other = next(f"{broker}@{host}" for host in HOSTS if f"{broker}@{host}" != name)
        with self.cluster.candidate(name) as peer:
            peer.ping()
            for way in ways:
                self.network.cut(*way)
            time.sleep(seconds)
            deposed = self._is_owner(other)
            if deposed and self.cluster.candidates[name].running:
                ask_paused(peer, self.cluster.topic(broker, "late"))
            for way in ways:
                self.network.join(*way)
            said = answers(peer) if deposed else []
        if said:
            self.found.append(f"{name} has answered after {other} owned the log: {said}")
        self.figures.faults["partitions in which the other one took over"] += deposed
        self._outage(broker, "since a partition was mended")
        self.mend()

    def _host_of_owner(self, broker: str) -> int:
        return number_of(self.cluster.owner(broker).partition("@")[2])


def number_of(host: str) -> int:
    """Return the number of a host by its name."""
    return int(host.removeprefix("h"))
