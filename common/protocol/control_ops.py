"""Arguments and results of the operations on a broker itself; the table is `common/protocol/ops.py`."""

from __future__ import annotations

from msgspec import Struct


class Ping(Struct, array_like=True):
    """The broker that the front expects."""

    cluster: str
    broker: str


class Pong(Struct, array_like=True):
    """The broker that answers, and its limits in bytes, 0 if unknown.

    `max_body` is the largest body that it accepts. The windows are what this front may have in flight to this broker:
    bodies without an answer yet, and space for answers that have not come yet.
    """

    cluster: str
    broker: str
    max_body: int = 0
    body_window: int = 0
    answer_window: int = 0
    unproven: bool = False
    """Whether nobody has checked yet that the servers of the replicated log sync every write."""
    slots_version: int = 0
    """Changes when the slots of this broker change; 0: it owns what the description gives it."""


class Stats(Struct, array_like=True):
    """Gauges and counters of one broker, by the names of `common/protocol/stats.py`."""

    values: dict[str, int]


class Backup(Struct, array_like=True):
    """Copy the store of the broker, beside it and under this name; repeated, ask for the progress."""

    name: str


class ReadBackup(Struct, array_like=True):
    """Read a complete copy of the store, which has this name: at most `length` bytes from `offset` on."""

    name: str
    offset: int
    length: int


class BackupPart(Struct, array_like=True):
    """A part of a copy, and the bytes of the whole copy."""

    data: bytes
    size: int


class HandOver(Struct, array_like=True):
    """Give the replicated log to another candidate, as in `b0@h2`; "": to the one that has read most."""

    to: str = ""


class Replica(Struct, array_like=True):
    """Where a candidate of a replicated log stands."""

    name: str
    """As in `b0@h1`."""
    role: str
    """`following`, `fencing`, `owner`, or `ended` after a hand-over."""
    owner: str
    """The name of the owner, "" if unknown."""
    log_id: str
    term: int
    position: int
    """Of the last entry that it has seen."""
    number: int
    """Of the last entry that counts."""
    stored: int
    """Position that its store has on disk."""
    silent_ms: int
    """Since it has seen a new entry."""
    room: int
    """Bytes that may be written to its disk."""
    used: int
    """Percent of the maximum size of the log, 0 if unknown."""
    problems: list[str]
    """Settings with which the log must not be used."""
    others: list[tuple[str, int, int, int]]
    """Of every other candidate that is not away: name, position, stored position, room."""


class BackupProgress(Struct, array_like=True):
    """`copied` of `pages`; with `done` the copy at `path` is complete and durable."""

    path: str
    copied: int
    pages: int
    done: bool
