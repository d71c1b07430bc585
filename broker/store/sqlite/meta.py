"""Facts about a store as a whole, in its table `meta`: its id and owner, numbers that were assigned, and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec

from broker.calendar import Calendar, Step
from broker.errors import UnusableStoreError
from broker.records import CalendarSet
from broker.store.sqlite.changes import RowChanges
from broker.store.sqlite.tables import META, MetaRow
from broker.store.sqlite.thresholds import StoreThresholds
from common.clock import NEW, Mark

LOG_FACTS = ("log", "applied", "term", "number", "chain", "released", "log_clocks", "last_delayed")
"""Facts of a store that is the state of a replicated log: the log, and where it stands in it (`Position`)."""


class Meta:
    """Keeps the facts of one store up to date. Each is written only when it must be."""

    def __init__(self, found: Mapping[str, Any], thresholds: StoreThresholds) -> None:
        """`found` is what the store has now."""
        self._thresholds = thresholds
        self._topics_begun = int(found.get("topics_begun", 0))
        self._clock_written_us = 0
        self._mark_written_us = -thresholds.clock_us
        """When the mark was written, by the broker's clock; the first commit of a process writes it."""
        self._last_piece = int(found.get("last_piece", 0))
        """Pieces up to this number may be stored before more numbers are reserved."""
        self._last_delayed: int | None = found.get("last_delayed")
        """Kept where it is there: in the state of a replicated log, which all candidates number alike."""

    def due(self, changes: RowChanges, clock: Mark) -> list[MetaRow]:
        """Return the facts that are to be written together with the changes."""
        thresholds = self._thresholds
        facts: list[MetaRow] = []
        has_times = changes.held or changes.keys or changes.returned
        if has_times or clock.mono > self._clock_written_us + thresholds.clock_us:
            facts.append(MetaRow("clock", clock.mono))
        if clock.mono > self._mark_written_us + thresholds.clock_us:
            facts.append(MetaRow("mark", _encoded((clock.time, clock.boot, clock.boottime))))
        if changes.calendar is not None:
            facts.append(MetaRow("calendar", _encoded(changes.calendar)))
        if changes.last_piece > self._last_piece:
            facts.append(MetaRow("last_piece", changes.last_piece + thresholds.numbers))
        if self._last_delayed is not None and changes.last_delayed > self._last_delayed:
            facts.append(MetaRow("last_delayed", changes.last_delayed))
        if changes.topics_begun > self._topics_begun:
            facts.append(MetaRow("topics_begun", changes.topics_begun))
        facts += [MetaRow(name, value) for name, value in changes.slots.facts.items()]
        return facts

    def written(self, facts: list[MetaRow], clock: Mark) -> None:
        """Take note of facts that `due` returned and that are committed now."""
        values: dict[str, Any] = dict(facts)
        self._last_piece = values.get("last_piece", self._last_piece)
        self._last_delayed = values.get("last_delayed", self._last_delayed)
        self._topics_begun = values.get("topics_begun", self._topics_begun)
        self._clock_written_us = values.get("clock", self._clock_written_us)
        self._mark_written_us = clock.mono if "mark" in values else self._mark_written_us


def read_meta(db: apsw.Connection) -> dict[str, Any]:
    """Return all facts by name. Raises `apsw.Error`."""
    return dict(META.read(db))


def read_mark(path: Path, meta: Mapping[str, Any]) -> Mark:
    """Return where the clocks stood.

    `mono` is the fact `clock`, and `shift` follows from the calendar. Raises `UnusableStoreError`.
    """
    try:
        mono = max(1, int(meta.get("clock", 0)))
        if "mark" not in meta:
            return NEW._replace(mono=mono)
        stood = msgspec.json.decode(meta["mark"], type=tuple[int, str, int])
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise UnusableStoreError(f"{path}: the mark of the clocks cannot be read: {error}") from None
    calendar = Calendar()
    for record in read_calendar(path, meta):
        calendar.set(record.steps)
    return Mark(mono, *stood, calendar.shift)


def read_calendar(path: Path, meta: Mapping[str, Any]) -> Iterator[CalendarSet]:
    """Yield the calendar, nothing where the clock was never set. Raises `UnusableStoreError`."""
    if "calendar" not in meta:
        return
    try:
        steps = msgspec.json.decode(meta["calendar"], type=tuple[Step, ...])
    except (msgspec.MsgspecError, TypeError) as error:
        raise UnusableStoreError(f"{path}: the calendar cannot be read: {error}") from None
    yield CalendarSet(steps)


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
