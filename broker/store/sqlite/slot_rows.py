"""The rows about slots that records change, and the records in them. No row is read to change one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apsw

from broker import slot_records
from broker.slot_records import SlotRecord, bitmap_of, slots_in
from broker.store.sqlite.slot_tables import (
    COMING,
    EPOCHS,
    FOUNDED,
    LEAVING,
    LEFT,
    MOVES,
    OWNED,
    UNPROVEN,
    ComingRow,
    EpochRow,
    LeavingRow,
    LeftRow,
    MoveRow,
    OwnedRow,
    has_slot_tables,
)
from broker.store.sqlite.tables import Table


class SlotChanges:
    """The rows that a burst changes; None means that the row is deleted."""

    def __init__(self) -> None:
        self.rows: dict[Table[Any], dict[Any, Any]] = {}
        """By table and key."""
        self.facts: dict[str, int] = {}
        """Of the store as a whole."""

    def add(self, record: SlotRecord) -> None:
        """Add a record, in order."""
        _ADD[type(record)](self, record)

    def set_epoch(self, topic: int, epoch: str) -> None:
        """Remember the epoch of a topic; "": the topic has ended."""
        self._put(EPOCHS, topic, EpochRow(topic, epoch) if epoch else None)

    def _put(self, table: Table[Any], key: int | str, row: tuple[Any, ...] | None) -> None:
        self.rows.setdefault(table, {})[key] = row

    def _owns(self, record: slot_records.Owns) -> None:
        self.facts[FOUNDED] = 1
        for slot in slots_in(record.bitmap):
            self._put(OWNED, slot, OwnedRow(slot, record.epoch))
            self._put(LEFT, slot, None)

    def _leaving(self, record: slot_records.SlotLeaving) -> None:
        self._put(LEAVING, record.slot, LeavingRow(record.slot, record.to, record.move))
        self._put(MOVES, "", MoveRow("", record.move))

    def _stays(self, record: slot_records.SlotStays) -> None:
        self._put(LEAVING, record.slot, None)

    def _left(self, record: slot_records.SlotLeft) -> None:
        self._put(LEAVING, record.slot, None)
        self._put(OWNED, record.slot, None)
        self._put(LEFT, record.slot, LeftRow(record.slot, record.to, record.move, record.epoch))

    def _coming(self, record: slot_records.SlotComing) -> None:
        self._put(COMING, record.slot, ComingRow(record.slot, record.source, record.move))
        self._put(MOVES, record.source, MoveRow(record.source, record.move))

    def _dropped(self, record: slot_records.SlotDropped) -> None:
        self._put(COMING, record.slot, None)
        self._put(MOVES, record.source, MoveRow(record.source, record.move))

    def _arrived(self, record: slot_records.SlotArrived) -> None:
        self._put(COMING, record.slot, None)
        self._put(LEFT, record.slot, None)
        self._put(OWNED, record.slot, OwnedRow(record.slot, record.epoch))

    def _seen(self, record: slot_records.MoveSeen) -> None:
        self._put(MOVES, record.source, MoveRow(record.source, record.move))

    def _proven(self, record: slot_records.StoreProven) -> None:
        self.facts[UNPROVEN] = int(not record.proven)


_ADD: dict[type[Any], Callable[[SlotChanges, Any], None]] = {
    slot_records.Owns: SlotChanges._owns,
    slot_records.SlotLeaving: SlotChanges._leaving,
    slot_records.SlotStays: SlotChanges._stays,
    slot_records.SlotLeft: SlotChanges._left,
    slot_records.SlotComing: SlotChanges._coming,
    slot_records.SlotDropped: SlotChanges._dropped,
    slot_records.SlotArrived: SlotChanges._arrived,
    slot_records.MoveSeen: SlotChanges._seen,
    slot_records.StoreProven: SlotChanges._proven,
}

SLOT_RECORDS = tuple(_ADD)


def read_epochs(db: apsw.Connection) -> dict[int, str]:
    """Return the epochs of topics that came from another broker, by number. Raises `apsw.Error`."""
    return dict(EPOCHS.read(db)) if has_slot_tables(db) else {}


def read_slots(db: apsw.Connection, meta: Mapping[str, Any]) -> Iterator[SlotRecord]:
    """Yield the records about slots, in the order that `broker/records.py` promises. Raises `apsw.Error`."""
    if meta.get(UNPROVEN):
        yield slot_records.StoreProven(False)
    if not meta.get(FOUNDED):
        return
    owned: dict[int, set[int]] = {}
    for slot, epoch in OWNED.read(db):
        owned.setdefault(epoch, set()).add(slot)
    for epoch in sorted(owned) or [1]:
        yield slot_records.Owns(bitmap_of(owned.get(epoch, set())), epoch)
    for row in LEAVING.read(db):
        yield slot_records.SlotLeaving(row.slot, row.target, row.move)
    for left in LEFT.read(db):
        yield slot_records.SlotLeft(left.slot, left.target, left.move, left.epoch)
    for coming in COMING.read(db):
        yield slot_records.SlotComing(coming.slot, coming.source, coming.move)
    for source, move in MOVES.read(db):
        yield slot_records.MoveSeen(source, move)
