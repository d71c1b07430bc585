"""Topic -> slot -> broker. Pure: no sockets, no files, no environment.

The slot of a topic never changes. When a cluster is made, its slots are spread by rendezvous hashing over the broker
ids (Thaler and Ravishankar 1998), so that hosts with the same description agree without communication. From then on the
stores say what their brokers own, and the description has a table of slots, which says where to ask first.
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
    """A process of a broker of the description: the only one, or one of its candidates."""

    id: str
    endpoint: str
    """The ZeroMQ endpoint that the broker binds and fronts connect to."""
    key: str = ""
    """Public key in Z85, "" without CURVE."""
    host: str = ""
    """Host of the candidate, "" for a broker without candidates."""

    @property
    def name(self) -> str:
        """`b0`, or `b0@h1` for a candidate: the name in logs, and of locks and files."""
        return f"{self.id}@{self.host}" if self.host else self.id


class SlotOwner(NamedTuple):
    """The owner of one slot."""

    broker: str
    epoch: int
    """Grows by one with each move of the slot; 0 is a guess, below whatever a broker says."""


@lru_cache(maxsize=65536)
def slot_of(topic: bytes) -> int:
    """Return the slot of a topic: the first 8 bytes of BLAKE2b (RFC 7693), big-endian, modulo `SLOTS`."""
    return int.from_bytes(blake2b(topic, digest_size=8).digest(), "big") % SLOTS


def rendezvous(slot: int, ids: Sequence[str]) -> str:
    """Return the broker with the highest score for a slot; a tie goes to the greater id."""
    return max(ids, key=lambda each: (blake2b(f"{each}:{slot}".encode(), digest_size=8).digest(), each))


class ClusterMap:
    """The owner of every slot. Immutable; a newer map has a greater epoch."""

    def __init__(
        self,
        name: str,
        epoch: int,
        brokers: Sequence[BrokerAddress],
        pins: Mapping[int, str] | None = None,
        fronts: Mapping[str, str] | None = None,
        table: Sequence[SlotOwner] = (),
    ) -> None:
        """`brokers` has every process; several with the same id are the candidates of one broker.

        `fronts` has the public keys, by name, of those that may connect to brokers with keys. `table` has the owner of
        every slot; without it the slots are those of a cluster that is made now.
        """
        self.name = name
        self.epoch = epoch
        self.addresses = tuple(brokers)
        """Every process."""
        first = {broker.id: broker for broker in reversed(brokers)}
        self.brokers = tuple(broker for broker in brokers if first[broker.id] is broker)
        """Every broker, as its first candidate where it has several."""
        self.fronts = dict(fronts or {})
        ids = [broker.id for broker in self.brokers]
        self.explicit = bool(table)
        """Whether the description has a table of slots."""
        self.table = tuple(table) or tuple(
            SlotOwner((pins or {}).get(slot) or rendezvous(slot, ids), 0) for slot in range(SLOTS)
        )
        """The owner of every slot with its epoch."""
        self.owners = tuple(owner.broker for owner in self.table)

    def owner(self, topic: bytes) -> str:
        """Return the id of the broker that owns a topic."""
        return self.owners[slot_of(topic)]

    def candidates(self, broker_id: str) -> tuple[BrokerAddress, ...]:
        """Return the processes of a broker, in the order of the description. Raises `StartError` for an unknown id."""
        found = tuple(each for each in self.addresses if each.id == broker_id)
        if not found:
            raise StartError(f"broker {broker_id!r} is not in the cluster description")
        return found

    def address(self, broker_id: str, host: str = "") -> BrokerAddress:
        """Return the address of a broker, or of its candidate on a host.

        Raises `StartError` for an unknown id or host, and where a broker with candidates needs a host.
        """
        candidates = self.candidates(broker_id)
        for each in candidates:
            if each.host == host:
                return each
        hosts = ", ".join(each.host for each in candidates)
        if not candidates[0].host:
            raise StartError(f"broker {broker_id!r} has no candidates in the description: leave --candidate out")
        raise StartError(f"--candidate {host or None!r} must be one of the candidates of broker {broker_id!r}: {hosts}")

    def endpoint(self, broker_id: str, host: str = "") -> str:
        """Return the endpoint of a broker, or of its candidate on a host. Raises as `address` does."""
        return self.address(broker_id, host).endpoint
