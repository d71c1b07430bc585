"""Clusters whose brokers are candidates of replicated logs on real NATS servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import zmq

from broker.replica.engine.names import StreamName
from broker.replica.entry import NO_CHAIN, Clocks, Entry, Genesis, Kind, encode_entry, say
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.streams import ask
from common.cluster.slots import BrokerAddress
from common.protocol import ops
from common.protocol.ops import Op
from tests.e2e.cluster import Cluster, Peer, Process, flags_of, wait_for
from tests.support.nats_cluster import NatsCluster

HOSTS = ("h1", "h2")
LOG_BYTES = 2**26

C = TypeVar("C", bound=Cluster)


class ReplicatedCluster(Cluster):
    """Each broker has a candidate per host; `candidates` has their processes by names such as `b0@h1`."""

    def __init__(
        self,
        nats: NatsCluster,
        brokers: int = 1,
        fronts: int = 1,
        broker_settings: Mapping[str, object] | None = None,
        front_settings: Mapping[str, object] | None = None,
        name: str = "",
    ) -> None:
        """Make the logs, and start all candidates and fronts. `name` is that of the cluster; "": a new one."""
        self.access = Access(tuple(node.url for node in nats.nodes))
        self.cluster_name = name or f"t{os.urandom(4).hex()}"
        self.logs: dict[str, StreamName] = {}
        self.candidates: dict[str, Process] = {}
        common = {"store": "replicated", "nats": nats.urls, "disk_reserve": "1MiB"} | dict(broker_settings or {})
        super().__init__(brokers, fronts, common, front_settings)

    def _describe(self, brokers: int, supervised: bool) -> None:
        ids = [f"b{number}" for number in range(brokers)]
        rows = [f'[cluster]\nname = "{self.cluster_name}"']
        for broker_id in ids:
            each = (f'{{host = "{host}", endpoint = "ipc://{self.run_dir}/{broker_id}{host}.sock"}}' for host in HOSTS)
            rows.append(f'[[brokers]]\nid = "{broker_id}"\ncandidates = [{", ".join(each)}]')
        self.description.write_text("\n".join(rows) + "\n")
        for broker_id in ids:
            self.logs[broker_id] = self._make_log(broker_id)

    def _make_log(self, broker_id: str) -> StreamName:
        return make_log(self.access, self.cluster_name, broker_id)

    def start_broker(self, broker_id: str, *module: str, **settings: object) -> Process:
        """Start all candidates of a broker, or one, as `b0@h1`; return the last."""
        name, _, only = broker_id.partition("@")
        process: Process | None = None
        for host in [only] if only else HOSTS:
            own = {"run_dir": self.run_dir, "id": name, "candidate": host, "data": self.folder / host}
            process = self.spawn(f"{name}@{host}", "broker", *flags_of({**own, **self._broker_settings, **settings}))
            self.candidates[f"{name}@{host}"] = process
        assert process is not None
        return process

    def candidate(self, name: str, **options: Any) -> Peer:
        """Return a raw DEALER that speaks to one candidate."""
        broker_id, _, host = name.partition("@")
        address: BrokerAddress = self.map.address(broker_id, host)
        return Peer(self._zmq, self.map.name, broker_id, address.endpoint, self.map.epoch, options)

    def says(self, name: str) -> ops.Replica | None:
        """Return where a candidate stands; None where it does not answer."""
        try:
            with self.candidate(name, RCVTIMEO=1000) as peer:
                found: ops.Replica = peer.ask(Op.REPLICA).result
                return found
        except zmq.Again:
            return None

    def replica(self, name: str) -> ops.Replica:
        """Return where a candidate stands, as soon as it answers."""
        return wait_for(lambda: self.says(name), f"{name} to answer")

    def owner(self, broker_id: str = "b0") -> str:
        """Wait for a candidate that owns the log; return its name."""

        def found() -> str:
            for host in HOSTS:
                name = f"{broker_id}@{host}"
                if self.candidates[name].running and self._role(name) == "owner":
                    return name
            return ""

        return wait_for(found, f"an owner of {broker_id}")

    def standby(self, broker_id: str = "b0") -> str:
        """Return the name of the candidate that is not the owner."""
        owner = self.owner(broker_id)
        return next(f"{broker_id}@{host}" for host in HOSTS if f"{broker_id}@{host}" != owner)

    def stats(self, broker_id: str) -> dict[str, int]:
        """Return the gauges and counters of the owner of a log."""
        with self.candidate(self.owner(broker_id)) as peer:
            return peer.stats()

    def _role(self, name: str) -> str:
        found = self.says(name)
        return found.role if found is not None else ""

    def close(self) -> None:
        """Kill everything, and remove the directory and the logs."""
        super().close()
        for name in self.logs.values():
            ask(self.access, lambda streams, name=name: streams.delete(name))


@contextmanager
def subscribed(made: C) -> Iterator[C]:
    """Subscribe `u` to `t`; at the end show what all processes have said, and close the cluster."""
    try:
        made.fronts[0].web.subscribe("t", "u")
        yield made
    finally:
        print(made.about())
        made.close()


def make_log(access: Access, cluster: str, broker: str) -> StreamName:
    """Make the log of a broker."""
    name, entry = new_log(cluster, broker)
    ask(access, lambda streams: streams.create(name, LOG_BYTES, 3))
    ask(access, lambda streams: streams.begin(name, entry))
    return name


def new_log(cluster: str, broker: str) -> tuple[StreamName, bytes]:
    """Return the name and the first entry of a new log."""
    name = StreamName(cluster, broker, os.urandom(8))
    genesis = say(Genesis(cluster, broker, os.urandom(4).hex()))
    return name, encode_entry(Entry(1, Kind.GENESIS, name.log_id, 0, 0, Clocks(), NO_CHAIN, genesis), NO_CHAIN)
