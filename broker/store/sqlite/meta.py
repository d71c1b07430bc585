"""What a durable store has of clocks, among its facts (`meta`): where they stood, and the calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec

from broker.calendar import Calendar, Step
from broker.errors import UnusableStoreError
from broker.records import CalendarSet
from common.clock import NEW, Mark

FACT = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


def read_meta(db: apsw.Connection) -> dict[str, Any]:
    """What the store says of itself: its id, its broker, its clock."""
    rows: list[Any] = db.execute("SELECT name, value FROM meta").fetchall()
    return dict(rows)


def mark_entry(mark: Mark) -> tuple[str, str]:
    """The row of a mark, but for `mono`, which is in `clock`, and `shift`, which follows from the calendar."""
    return "mark", msgspec.json.encode((mark.time, mark.boot, mark.boottime)).decode()


def calendar_entry(steps: tuple[Step, ...]) -> tuple[str, str]:
    """The row of a calendar."""
    return "calendar", msgspec.json.encode(steps).decode()


def read_mark(path: Path, meta: Mapping[str, Any]) -> Mark:
    """Raises `UnusableStoreError`."""
    try:
        mono = max(1, int(meta.get("clock", 0)))
        if "mark" not in meta:
            return NEW._replace(mono=mono)
        stood = msgspec.json.decode(meta["mark"], type=tuple[int, str, int])
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise UnusableStoreError(f"{path}: where the clocks stood cannot be read: {error}") from None
    calendar = Calendar()
    for record in read_calendar(path, meta):
        calendar.set(record.steps)
    return Mark(mono, *stood, calendar.shift)


def read_calendar(path: Path, meta: Mapping[str, Any]) -> Iterator[CalendarSet]:
    """One record, none where the clock was never set. Raises `UnusableStoreError`."""
    if "calendar" not in meta:
        return
    try:
        steps = msgspec.json.decode(meta["calendar"], type=tuple[Step, ...])
    except (msgspec.MsgspecError, TypeError) as error:
        raise UnusableStoreError(f"{path}: the calendar cannot be read: {error}") from None
    yield CalendarSet(steps)
