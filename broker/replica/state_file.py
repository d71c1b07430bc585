"""The contract of the local store of a candidate: the state of the log up to a position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from broker.errors import UnusableStoreError
from broker.records import Content, Record
from broker.replica.entry import Clocks
from broker.replica.reader import Position
from broker.store.base import Backup, LostMessage
from common.clock import Mark


class StateFile(Protocol):
    """As `broker.store.sqlite.log_state.LogStateStore`; methods that a `Store` has, too, are the same."""

    log_facts: dict[str, str | int]
    lost: Sequence[LostMessage]
    synced_us: int | None
    stored_piece: int

    def load(self) -> Iterator[Record]: ...

    def add(self, burst: Sequence[Record]) -> None: ...

    def flush(self, facts: Mapping[str, str | int], clock: Mark) -> None: ...

    def read(self, piece: int) -> Content: ...

    def writable_bytes(self) -> int: ...

    def reclaim(self) -> bool: ...

    def backup(self, name: str) -> tuple[Any, Backup]: ...

    def close(self) -> None: ...


def position_of(facts: Mapping[str, str | int]) -> Position:
    """Return where a store stands. Raises `UnusableStoreError`."""
    if not facts.get("applied"):
        return Position()
    try:
        clocks = Clocks(*msgspec.json.decode(str(facts["log_clocks"]), type=tuple[int, int, int]))
        chain = bytes.fromhex(str(facts["chain"]))
        applied, term, number, released = (int(facts[name]) for name in ("applied", "term", "number", "released"))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise UnusableStoreError(f"the position of the store in its log cannot be read: {error!r}") from None
    return Position(applied, term, number, chain, clocks, bool(released))


def facts_of(at: Position) -> dict[str, str | int]:
    """Return the facts that say so."""
    return {
        "applied": at.position,
        "term": at.term,
        "number": at.number,
        "chain": at.chain.hex(),
        "released": int(at.released),
        "log_clocks": msgspec.json.encode(tuple(at.clocks)).decode(),
    }


def mark_of(clocks: Clocks) -> Mark:
    """Return where the clocks of the next owner begin: where those of the last one stood."""
    return Mark(max(1, clocks.mono_us), clocks.time_ms, "", 0, clocks.wall_ms - clocks.time_ms)
