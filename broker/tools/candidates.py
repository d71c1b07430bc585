"""Ask the candidates of a broker who they are: which one owns the log, and how far each has read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from broker.tools.control import Control
from common.cluster.slots import BrokerAddress, ClusterMap
from common.errors import FanmailError
from common.keys.curve import KeyPair
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import BrokerState

ANSWER_S = 2.0
"""How long a candidate may take to answer."""
AT_ONCE = 32


class Candidate(NamedTuple):
    """What one candidate says."""

    address: BrokerAddress
    state: BrokerState | None
    """None: it does not answer."""
    term: int = 0
    stats: dict[str, int] = {}  # noqa: RUF012 - never changed
    error: str = ""


def ask_candidates(cluster: ClusterMap, broker_id: str, keys: KeyPair | None, only: str = "") -> list[Candidate]:
    """Return what the candidates of a broker say, in the order of the description; or the one on the host `only`."""
    if only:
        return [_ask(cluster, cluster.address(broker_id, only), keys)]
    return ask_all(cluster, [broker_id], keys)[broker_id]


def ask_all(cluster: ClusterMap, broker_ids: Sequence[str], keys: KeyPair | None) -> dict[str, list[Candidate]]:
    """Return what the candidates of several brokers say. All are asked at once: many may not answer."""
    addresses = [address for each in broker_ids for address in cluster.candidates(each)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(lambda address: _ask(cluster, address, keys), addresses))
    return {each: [candidate for candidate in said if candidate.address.id == each] for each in broker_ids}


def _ask(cluster: ClusterMap, address: BrokerAddress, keys: KeyPair | None) -> Candidate:
    try:
        with Control(cluster, address.id, keys, address.host, ANSWER_S) as control:
            control.check()
            stats: ops.Stats = control.ask(Op.STATS, ops.Nothing())
            return Candidate(address, control.state, control.term, stats.values)
    except FanmailError as error:
        return Candidate(address, None, error=error.detail or error.code)


def owner_of(candidates: list[Candidate]) -> Candidate | None:
    """Return the owner of the log: of those that say so, the one of the greatest term. None: nobody says so."""
    serving = [each for each in candidates if each.state in (BrokerState.READY, BrokerState.DRAINING)]
    return max(serving, key=lambda each: each.term, default=None)


def find_owner(cluster: ClusterMap, broker_id: str, keys: KeyPair | None) -> BrokerAddress:
    """Return the process that serves a broker. Raises `FanmailError` where none does."""
    addresses = cluster.candidates(broker_id)
    if len(addresses) == 1:
        return addresses[0]
    owner = owner_of(ask_candidates(cluster, broker_id, keys))
    if owner is None:
        raise FanmailError("broker-down", f"no candidate of broker {broker_id} owns its log now")
    return owner.address
