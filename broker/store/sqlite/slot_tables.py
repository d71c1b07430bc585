"""The tables about slots (`broker/state/slots.py`), and the epochs of topics that came from another broker."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from broker.store.sqlite.tables import Table

FOUNDED, UNPROVEN = "founded", "unproven"
"""Facts of a store: 1 where it says which slots it owns, and where it was restored and may be older than others."""


class OwnedRow(NamedTuple):
    """A slot that the broker owns."""

    slot: int
    epoch: int


class LeavingRow(NamedTuple):
    """A slot that is frozen, and where it goes."""

    slot: int
    target: str
    move: int


class LeftRow(NamedTuple):
    """Where a slot has gone."""

    slot: int
    target: str
    move: int
    epoch: int


class ComingRow(NamedTuple):
    """A slot that is not complete, and where it comes from."""

    slot: int
    source: str
    move: int


class MoveRow(NamedTuple):
    """The greatest id of a move from a broker, "" for this one."""

    source: str
    move: int


class EpochRow(NamedTuple):
    """The epoch of a topic that came from another broker."""

    topic: int
    epoch: str


OWNED = Table("owned_slots", OwnedRow, key=("slot",))
LEAVING = Table("leaving_slots", LeavingRow, key=("slot",))
LEFT = Table("left_slots", LeftRow, key=("slot",))
COMING = Table("coming_slots", ComingRow, key=("slot",))
MOVES = Table("moves", MoveRow, key=("source",))
EPOCHS = Table("epochs", EpochRow, key=("topic",))
SLOT_TABLES: tuple[Table[Any], ...] = (OWNED, LEAVING, LEFT, COMING, MOVES, EPOCHS)


def has_slot_tables(db: apsw.Connection) -> bool:
    """Return whether a store has these tables: those of schema 3 do not. Raises `apsw.Error`."""
    query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?"
    found: Any = db.execute(query, (OWNED.name,)).fetchall()
    return bool(found[0][0])


def count_owned(db: apsw.Connection) -> int:
    """Return how many slots a store owns. Raises `apsw.Error`."""
    found: Any = db.execute(f"SELECT count(*) FROM {OWNED.name}").fetchall()
    return int(found[0][0])
