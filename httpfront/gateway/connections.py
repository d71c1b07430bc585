"""The connections to all processes of the cluster map, and for each broker the one that requests go to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from common.cluster.slots import BrokerAddress, ClusterMap
from common.keys.curve import KeyPair
from httpfront.gateway.broker_socket import BrokerSocket, new_context
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.call import Refused
from httpfront.gateway.owner import Owner
from httpfront.hub import Hub

log = logging.getLogger("fanmail.front")

LEFT = "the broker has left the cluster description"


class Connections:
    """A socket to each process of each broker. Belongs to the hub's thread."""

    def __init__(self, hub: Hub, keys: KeyPair | None, refused: Refused) -> None:
        """Connect to nothing until `take`. `keys` are required for a map in which brokers have keys.

        `refused` is asked what the error of a broker means for its call.
        """
        self._hub = hub
        self._refused = refused
        self._keys = keys
        self._context = new_context()
        self._sockets: dict[BrokerAddress, BrokerSocket] = {}
        self._owners: dict[str, Owner] = {}
        """Of brokers with candidates, by their ids."""
        self.in_use: dict[str, BrokerSocket] = {}
        """By the id of each broker of the map, its only process or the candidate that is used."""

    def __iter__(self) -> Iterator[BrokerSocket]:
        return iter(list(self._sockets.values()))

    def take(self, cluster: ClusterMap) -> None:
        """Connect to the processes of a map, and disconnect from all others."""
        wanted = set(cluster.addresses)
        for address, socket in list(self._sockets.items()):
            if address not in wanted or socket.status.cluster != cluster.name:
                del self._sockets[address]
                socket.close(LEFT)
        in_use: dict[str, BrokerSocket] = {}
        for broker in cluster.brokers:
            for address in cluster.candidates(broker.id):
                socket = self._sockets.get(address) or self._connect(cluster.name, address)
                socket.map_epoch = cluster.epoch
                in_use.setdefault(broker.id, socket)
        self.in_use.clear()
        self.in_use.update(in_use)
        terms = {broker_id: owner.term for broker_id, owner in self._owners.items()}
        self._owners = {
            each.id: Owner([self._sockets[one].status for one in cluster.candidates(each.id)], terms.get(each.id, 0))
            for each in cluster.brokers
            if each.host
        }
        for broker_id in self._owners:
            self._choose(broker_id)

    def close(self) -> None:
        """Close all sockets. Calls in flight end as `outcome-unknown`."""
        self._owners.clear()
        for socket in self:
            socket.close("the front is stopping")
        self._sockets.clear()
        self.in_use.clear()
        self._context.term()

    def candidates(self) -> list[BrokerSocket]:
        """Return the connections to the candidates of all brokers that have any."""
        return [socket for address, socket in self._sockets.items() if address.host]

    def _connect(self, cluster: str, address: BrokerAddress) -> BrokerSocket:
        told: dict[str, Any] = {"changed": partial(self._choose, address.id)} if address.host else {}
        status = BrokerStatus(cluster, address.id, address.host, **told)
        socket = self._sockets[address] = BrokerSocket(
            self._hub, self._context, status, address, self._keys, self._refused
        )
        return socket

    def _choose(self, broker_id: str) -> None:
        """Use the owner of a broker. Long polls at a former one end: new messages are not there."""
        owner = self._owners.get(broker_id)
        if owner is None:
            return
        owner.choose()
        former = self.in_use[broker_id]
        if former.status is not owner.status:
            self.in_use[broker_id] = next(each for each in self._sockets.values() if each.status is owner.status)
            former.fall_behind()
            self._hub.spawn(former.end_all_waits)
