"""What the commands of `bin/rebalance` have in common: settings, the cluster, and which slots are to move."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from broker.tools.running import running_cluster
from broker.tools.slot_links import Links, View
from common import config_sources
from common.cluster.description import load_cluster
from common.cluster.description_edit import write_slots
from common.cluster.slot_plan import PlannedMove, plan_moves, plan_slots, wanted_brokers, why_in_memory
from common.cluster.slot_table import parse_slots
from common.cluster.slots import ClusterMap
from common.command_line import About
from common.config import StartBrokersSettings
from common.errors import StartError

FLAGS = ("config", "run_dir", "curve_dir", "insecure")
"""The settings of every command."""


class Frame(NamedTuple):
    """What a command works on."""

    options: Any
    path: Path
    """Of the cluster description."""
    insecure: bool
    cluster: ClusterMap
    links: Links

    @property
    def ids(self) -> list[str]:
        """Return the brokers of the description."""
        return [each.id for each in self.cluster.brokers]


@contextmanager
def load_frame(
    name: str, argv: Sequence[str], about: About, add_options: Callable[[Any], None] = lambda _: None
) -> Iterator[Frame]:
    """Yield what a command works on. Raises `StartError`."""
    settings, options = config_sources.load(StartBrokersSettings, f"rebalance {name}", argv, add_options, about, FLAGS)
    path, cluster, keys = running_cluster(settings)
    with Links(cluster, keys) as links:
        yield Frame(options, path, settings.insecure, cluster, links)


def add_json(parser: Any) -> None:
    """Add `--json` to a command line."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_choice(parser: Any) -> None:
    """Add the flags that say which slots are to move."""
    parser.add_argument(
        "--add", metavar="BROKER", action="append", default=[], help="share the slots with this broker too"
    )
    parser.add_argument("--drain", metavar="BROKER", action="append", default=[], help="leave this broker no slots")
    parser.add_argument("--slots", metavar="SLOTS", default="", help="move these slots, such as 0-99,105, with --to")
    parser.add_argument("--to", metavar="BROKER", default="", help="the broker that gets the slots of --slots")
    add_json(parser)


def add_slots(parser: Any) -> None:
    """Add `--slots` to a command line."""
    parser.add_argument("--slots", metavar="SLOTS", default="", help="only these slots, such as 0-99,105")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns; all but those of words are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def write_description(frame: Frame, view: View | None = None) -> int:
    """Write the owners of the slots into the description where it has others; return its epoch.

    It stays as it is while a slot has no owner that answers. Raises `StartError`.
    """
    view = view or frame.links.view()
    present = load_cluster(frame.path, insecure=frame.insecure)
    in_memory = any(table.status == "memory" for table in view.tables.values())
    if view.unowned or in_memory or tuple(view.table) == present.table:
        return present.epoch
    return write_slots(frame.path, view.table, [each.id for each in present.brokers])


def try_to_write_description(frame: Frame) -> int:
    """Do the same where the file can be written; else say so, as it is only a cache."""
    try:
        return write_description(frame)
    except StartError as error:
        print(f"the owners are not in the description: {error}", file=sys.stderr)
        return frame.cluster.epoch


def choose(frame: Frame, view: View) -> list[PlannedMove]:
    """Return the moves that the command line asks for. Raises `StartError`."""
    options = frame.options
    refuse_memory(view)
    for broker in (*options.add, *options.drain, *([options.to] if options.to else [])):
        if broker in view.silent:
            raise StartError(f"broker {broker}: {view.silent[broker]}")
    try:
        if options.slots or options.to:
            return _named(frame, view)
        wanted = wanted_brokers(view.owners, frame.ids, options.add, options.drain)
    except ValueError as error:
        raise StartError(str(error)) from None
    for broker in wanted:
        if broker in view.silent:
            raise StartError(f"broker {broker}: {view.silent[broker]} (--drain or --slots can leave it out)")
    return plan_moves(view.owners, wanted)


def _named(frame: Frame, view: View) -> list[PlannedMove]:
    options = frame.options
    if not (options.slots and options.to) or options.add or options.drain:
        raise ValueError("--slots and --to belong together, without --add and --drain")
    if options.to not in frame.ids:
        raise ValueError(f"broker {options.to} is not in the cluster description: add it there, and start it")
    return plan_slots(view.owners, parse_slots(options.slots), options.to)


def refuse_memory(view: View) -> None:
    """Raise `StartError` where brokers keep their messages in memory."""
    reason = why_in_memory({broker: table.status for broker, table in view.tables.items()})
    if reason:
        raise StartError(reason)
