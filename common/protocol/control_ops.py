"""Arguments and results of the operations that are about a broker itself (`common/protocol/ops.py`)."""

from __future__ import annotations

from msgspec import Struct


class Ping(Struct, array_like=True):
    """Whom the front means to talk to."""

    cluster: str
    broker: str


class Pong(Struct, array_like=True):
    """Who answers, and the largest body in bytes that it takes (0: it does not say, here and below).

    The last two are bytes that this front may have under way to this broker at a time: of bodies that are not answered
    yet, and of room for answers that have not come yet.
    """

    cluster: str
    broker: str
    max_body: int = 0
    body_window: int = 0
    answer_window: int = 0


class Stats(Struct, array_like=True):
    """Gauges and counters of one broker by name; all count from its start."""

    values: dict[str, int]


class Backup(Struct, array_like=True):
    """A copy of the broker's store is to be made beside it, under this name; asked again, how far it is."""

    name: str


class BackupProgress(Struct, array_like=True):
    """`copied` of `pages`; with `done` the copy at `path` is whole and durable."""

    path: str
    copied: int
    pages: int
    done: bool
