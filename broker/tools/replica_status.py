"""`bin/replica status`: who owns each log, how far the candidates are, and how large the logs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from broker.replica.engine.names import StreamName
from broker.replica.log import StreamInfo
from broker.tools.candidates import Candidate, ask_all, owner_of
from broker.tools.replica_frame import LOG_FLAGS, Frame, add_json, load_frame
from broker.tools.replica_logs import look_at_logs
from common.command_line import About
from common.protocol import log_stats
from common.protocol.wire import BrokerState

HELP = "show owner, term, positions, lag and size of each log"
ABOUT = About(
    "Show who owns the log of each broker, how far its candidates have read and stored it, and how large it is. Asks "
    "NATS, or PostgreSQL, and the candidates, as far as they can be reached from this host. Exit code 1 "
    "where a broker has no owner.",
    ("--config cluster.toml --nats nats://h1:4222", "--config cluster.toml --nats nats://h1:4222 --ids b0 --json"),
)
HEAD = ("broker", "candidate", "state", "term", "seen", "lag", "stored", "log", "leader")


class Row(NamedTuple):
    """What is known of one broker."""

    broker: str
    name: StreamName | None
    info: StreamInfo | None
    problem: str
    """Why there is no information about the log."""
    candidates: list[Candidate]


def run(argv: Sequence[str]) -> int:
    """Print what is known."""
    frame = load_frame("status", argv, ABOUT, ("ids", *LOG_FLAGS, "log_replicas"), add_json)
    rows = look(frame)
    if frame.options.json:
        print(msgspec.json.encode({"brokers": [as_json(row) for row in rows]}).decode())
    else:
        _print_table([HEAD, *(cells for row in rows for cells in _cells(row))])
        for row in rows:
            problems = [row.problem, *(row.info.problems if row.info else ())]
            for problem in filter(None, problems):
                print(f"{row.broker}: {problem}")
    return 0 if all(owner_of(row.candidates) for row in rows) else 1


def look(frame: Frame) -> list[Row]:
    """Return what NATS and the candidates say. Raises `StartError` where no server of the logs answers."""
    logs = look_at_logs(frame)
    said = ask_all(frame.cluster, frame.ids, frame.keys)
    return [Row(each, *logs[each], said[each]) for each in frame.ids]


def state_of(row: Row, candidate: Candidate) -> str:
    """Return what a candidate is, in a word."""
    if candidate.state is None:
        return "unreachable"
    if candidate is owner_of(row.candidates):
        return "owner" if candidate.state is BrokerState.READY else candidate.state.name.lower()
    return "deposed" if candidate.state is BrokerState.READY else candidate.state.name.lower()


def lag_of(row: Row, candidate: Candidate) -> int | None:
    """Return how many entries a candidate has not seen; None: unknown."""
    seen = candidate.stats.get(log_stats.POSITION)
    return None if seen is None or row.info is None else max(0, row.info.last - seen)


def as_json(row: Row) -> dict[str, Any]:
    """Return what is known of a broker as one object."""
    owner = owner_of(row.candidates)
    log = None
    if row.info is not None:
        log = {"name": str(row.name), "log_id": row.name.log_id.hex() if row.name else "", **_fields(row.info)}
    return {
        "id": row.broker,
        "owner": owner.address.host if owner else None,
        "term": max((each.term for each in row.candidates), default=0),
        "log": log,
        "problem": row.problem or None,
        "candidates": [
            {
                "host": each.address.host,
                "state": state_of(row, each),
                "term": each.term,
                "lag": lag_of(row, each),
                "stats": {name: value for name, value in each.stats.items() if name.startswith("log.")},
                "error": each.error or None,
            }
            for each in row.candidates
        ],
    }


def _fields(info: StreamInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__struct_fields__}


def _cells(row: Row) -> list[tuple[str, ...]]:
    size, leader = "?", "?"
    if row.info is not None:
        size = (
            f"{row.info.first}..{row.info.last}, {row.info.bytes / 2**20:.1f} of {row.info.max_bytes / 2**20:.0f} MiB"
        )
        leader = row.info.leader or "none"
    lines = []
    for each in row.candidates:
        stats, lag = each.stats, lag_of(row, each)
        numbers = (stats.get(log_stats.POSITION), lag, stats.get(log_stats.APPLIED))
        shown = ("?" if number is None else str(number) for number in numbers)
        lines.append((row.broker, each.address.host, state_of(row, each), str(each.term), *shown, size, leader))
        size = leader = ""
    return lines


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
