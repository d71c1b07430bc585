"""`python -m broker.tools.inspect DIR` (`bin/inspect`): show what is in stores and whether they are whole."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import UnusableStoreError
from broker.store.sqlite.files import FILE, LOCK, traces
from broker.store.sqlite.inspection import TopicRow, inspect
from broker.tools.checking import Damage, check
from common.command_line import Parser
from common.errors import StartError
from common.process.locks import lock_to_look
from common.process.start import INTERRUPTED, how_many, run_main

PROG = "inspect"
_HEAD = ("topic", "epoch", "messages", "bytes", "subscriptions", "deepest", "oldest")


def main() -> int:
    """Return 0 where every store is whole. Raises `StartError` where one is not, or is in use."""
    about = "Show what is in stores and whether they are whole. Nothing is changed."
    parser = Parser(about, ["/backups/monday", "/var/lib/fanmail --prefix orders. --json"], PROG)
    parser.add_argument("folder", metavar="DIR", help="the --data directory of stopped brokers, or the folder of one")
    parser.add_argument("--prefix", default="", help="only topics whose names begin with this")
    parser.add_argument("--limit", type=how_many(0, 10**9), default=100, help="topics listed per broker [default: 100]")
    parser.add_argument("--json", action="store_true", help="print one JSON object per broker")
    options = parser.parse_args(sys.argv[1:])
    folder = Path(options.folder)
    places = (folder / FILE, *(each / FILE for each in sorted(folder.glob("*"))))
    files = [path for path in places if path.exists() or traces(path)]
    if not files:
        raise StartError(f"{folder}: no store ({FILE}) in it or in a folder below")
    damaged: list[str] = []
    for path in files:
        lock_to_look(path.with_name(LOCK))
        try:
            damage = _show(path, options)
        except UnusableStoreError as error:
            raise StartError(str(error)) from None
        if damage is not None:
            damaged.append(f"{path}: damaged: {damage}")
    if damaged:
        raise StartError("; ".join(damaged))
    return 0


def _show(path: Path, options: Any) -> Damage | None:
    """Print what is there, and return its damage."""
    with inspect(path) as inspection:
        damage = check(inspection)
        summary = inspection.summary()
        rows = list(inspection.topics(options.prefix.encode(), options.limit))
    if options.json:
        topics = [row._asdict() | {"name": row.name.decode(errors="replace")} for row in rows]
        document = {"path": str(path), **summary._asdict(), "whole": damage is None, "listed": topics}
        print(msgspec.json.encode(document).decode())
        return damage
    facts = ", ".join(f"{name} {value:,}" for name, value in list(summary._asdict().items())[2:])
    print(f"{path}: broker {summary.broker} of cluster {summary.cluster}: {facts}; {damage or 'whole'}")
    if rows:
        _print_table([_HEAD, *map(_cells, rows)])
    return damage


def _cells(row: TopicRow) -> tuple[str, ...]:
    oldest = "" if row.oldest is None else datetime.fromtimestamp(row.oldest / 1000, UTC).isoformat(timespec="seconds")
    numbers = (f"{each:,}" for each in (row.messages, row.bytes, row.subscriptions, row.deepest))
    return (ascii(row.name.decode(errors="replace"))[1:-1], row.epoch, *numbers, oldest)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
