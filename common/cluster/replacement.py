"""Whether a running process may use another cluster description in place of the one that it has. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from common.cluster.slots import ClusterMap
from common.program import launcher


def why_refused(present: ClusterMap, newer: ClusterMap, orphaned: Mapping[str, int]) -> str:
    """Return why `newer` must not replace `present`; "" where it may.

    `orphaned` has the brokers that are known to own slots and that `newer` leaves out, with the number of these slots.
    """
    if newer.name != present.name:
        return f"it is of cluster {newer.name!r}; this is a part of cluster {present.name!r}"
    if newer.epoch < present.epoch:
        return f"its epoch {newer.epoch} is older than {present.epoch}, which is in use"
    if newer.epoch == present.epoch:
        return "" if _same(present, newer) else f"it differs from the one in use, and its epoch is {newer.epoch} too"
    for broker, slots in sorted(orphaned.items()):
        move = f"{launcher('rebalance')} run --drain {broker}"
        return f"it leaves out broker {broker}, which owns {slots} slots: {move} moves them"
    return ""


def _same(one: ClusterMap, other: ClusterMap) -> bool:
    return (one.addresses, one.table) == (other.addresses, other.table)  # keys of fronts may change by themselves
