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


class Stats(Struct, array_like=True):
    """Gauges and counters of one broker, by the names of `common/protocol/stats.py`."""

    values: dict[str, int]


class Backup(Struct, array_like=True):
    """Copy the store of the broker, beside it and under this name; repeated, ask for the progress."""

    name: str


class BackupProgress(Struct, array_like=True):
    """`copied` of `pages`; with `done` the copy at `path` is complete and durable."""

    path: str
    copied: int
    pages: int
    done: bool
