"""What a durable store has of clocks, among its facts (`meta`): where they stood, and the calendar."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.calendar import Step
from broker.records import CalendarSet
from broker.store.base import UnusableStoreError
from common.clock import NEW, Mark

FACT = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


def mark_facts(mark: Mark) -> tuple[tuple[str, object], ...]:
    """The rows of a mark. `clock` alone is what earlier versions know."""
    return ("clock", mark.mono), ("mark", json.dumps(mark))


def calendar_fact(steps: Sequence[Step]) -> tuple[str, str]:
    """The row of a calendar."""
    return "calendar", json.dumps(steps)


def read_mark(path: Path, meta: Mapping[str, Any]) -> Mark:
    """Raises `UnusableStoreError`."""
    try:
        mono = max(1, int(meta.get("clock", 0)))
        if "mark" not in meta:
            return NEW._replace(mono=mono)
        _, time, wall, boot, boottime = json.loads(meta["mark"])
        return Mark(mono, int(time), int(wall), str(boot), int(boottime))
    except (TypeError, ValueError) as error:
        raise UnusableStoreError(f"{path}: where the clocks stood cannot be read: {error}") from None


def read_calendar(path: Path, meta: Mapping[str, Any]) -> Iterator[CalendarSet]:
    """One record, none where the clock was never set. Raises `UnusableStoreError`."""
    if "calendar" not in meta:
        return
    try:
        steps = tuple(Step(*map(int, each)) for each in json.loads(meta["calendar"]))
    except (TypeError, ValueError) as error:
        raise UnusableStoreError(f"{path}: the calendar cannot be read: {error}") from None
    yield CalendarSet(steps)
