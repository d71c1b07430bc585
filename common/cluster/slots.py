"""Topic -> slot -> broker. Pure: no sockets, no files, no environment.

A topic's slot never changes. The map slot -> broker is filled once by rendezvous hashing over the broker ids
(Thaler and Ravishankar 1998), so that hosts with the same description agree without talking, and adding a
broker moves only its own share; from then on it is data with an epoch that only grows, and can pin slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from common.errors import StartError

SLOTS = 1024
"""Fixed for the life of a cluster."""


class BrokerAddress(NamedTuple):
    """A broker of the description: its id, the ZeroMQ endpoint it binds and fronts connect to, and its public key
    (Z85), "" without CURVE.
    """

    id: str
    endpoint: str
    key: str = ""


@lru_cache(maxsize=65536)
def slot_of(topic: bytes) -> int:
    """The slot of a topic: the first 8 bytes of BLAKE2b (RFC 7693), big-endian, modulo `SLOTS`."""
    return int.from_bytes(blake2b(topic, digest_size=8).digest(), "big") % SLOTS


def rendezvous(slot: int, ids: Sequence[str]) -> str:
    """The broker with the highest score for a slot; ties go to the greater id."""
    return max(ids, key=lambda each: (blake2b(f"{each}:{slot}".encode(), digest_size=8).digest(), each))


class ClusterMap:
    """Who owns which slot. Immutable; a newer map has a greater epoch."""

    def __init__(
        self,
        name: str,
        epoch: int,
        brokers: Sequence[BrokerAddress],
        pins: Mapping[int, str] | None = None,
        fronts: Mapping[str, str] | None = None,
    ) -> None:
        """`fronts`: names to public keys of those whom a broker with a key lets in."""
        self.name = name
        self.epoch = epoch
        self.brokers = tuple(brokers)
        self.fronts = dict(fronts or {})
        ids = [broker.id for broker in brokers]
        self.owners = tuple((pins or {}).get(slot) or rendezvous(slot, ids) for slot in range(SLOTS))

    def owner(self, topic: bytes) -> str:
        """The id of the broker that owns a topic."""
        return self.owners[slot_of(topic)]

    def address(self, broker_id: str) -> BrokerAddress:
        """Of a broker. Raises `StartError` for an id that the description does not have."""
        for broker in self.brokers:
            if broker.id == broker_id:
                return broker
        raise StartError(f"broker {broker_id!r} is not in the cluster description")

    def endpoint(self, broker_id: str) -> str:
        """Where a broker listens. Raises as `address` does."""
        return self.address(broker_id).endpoint
