"""Counts of a state that must be the same in every candidate after the same entry."""

from __future__ import annotations

from broker.errors import ReplicaError
from broker.state.state import State


def digest_of(state: State) -> dict[str, int]:
    """Return the counts. All are kept up to date as things happen: nothing is scanned."""
    totals = state.delivery_totals
    return {
        "topics": len(state.topics),
        "topics_begun": state.topics_begun,
        "subscriptions": state.subscriptions,
        "messages": state.messages,
        "pieces": state.pieces,
        "last_piece": state.last_piece,
        "bytes": state.content_bytes,
        "leases": totals.open_leases,
        "dead_letters": totals.dead_letters,
        "dead_bytes": totals.dead_bytes,
        "delayed": len(state.delayed),
        "last_delayed": state.delayed.last_number,
        "keys": len(state.keys),
        "calendar": state.calendar.shift,
    }


def check_digest(state: State, owners: dict[str, int], position: int) -> None:
    """Raise `ReplicaError` where the state differs from that of the owner after the entry at `position`."""
    mine = digest_of(state)
    wrong = [f"{name} {mine.get(name)}, not {count}" for name, count in owners.items() if mine.get(name) != count]
    if wrong:
        raise ReplicaError(
            f"the state of this candidate differs from the owner's at entry {position}: {', '.join(wrong)}; "
            "seed this candidate anew"
        )
