"""What the settings of a PostgreSQL server say of the durability of a log."""

from __future__ import annotations

import re
from typing import NamedTuple

from broker.replica.log import StreamInfo

_COUNTED = re.compile(r"\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\((.*)\)\s*", re.IGNORECASE | re.DOTALL)


class ServerSettings(NamedTuple):
    """The answer to `tables.SETTINGS`."""

    synchronous_commit: str
    standby_names: str
    fsync: str
    full_page_writes: str
    host: str


class State(NamedTuple):
    """The answer to `tables.STATE`."""

    first: int
    last: int
    bytes: int
    max_bytes: int


def info_of(state: State, settings: ServerSettings, replicas: int) -> StreamInfo:
    """Return what a candidate wants to know of a log. `replicas`: copies of which a majority must acknowledge."""
    return StreamInfo(
        first=state.first,
        last=state.last,
        bytes=state.bytes,
        max_bytes=state.max_bytes,
        replicas=copies_of(settings.standby_names),
        problems=problems_of(settings, replicas),
        leader=settings.host,
        placement=(settings.host,),
    )


def copies_of(standby_names: str) -> int:
    """Return how many servers have what was acknowledged, by `synchronous_standby_names`."""
    if not standby_names.strip():
        return 1
    counted = _COUNTED.fullmatch(standby_names)
    return 1 + (int(counted[1]) if counted else 1)


def problems_of(settings: ServerSettings, replicas: int) -> tuple[str, ...]:
    """Return each setting of a server with which it must not be used."""
    found = []
    if settings.synchronous_commit not in ("on", "remote_apply"):
        found.append(f"synchronous_commit is {settings.synchronous_commit}, and must be on")
    found += [f"{name} is off" for name in ("fsync", "full_page_writes") if getattr(settings, name) != "on"]
    copies, least = copies_of(settings.standby_names), replicas // 2 + 1
    if copies < least:
        names = f"synchronous_standby_names is {settings.standby_names!r}"
        kept = "one copy" if copies == 1 else f"{copies} copies"
        found.append(f"{kept} of what is acknowledged, and {least} are needed for --log-replicas {replicas}: {names}")
    return tuple(found)
