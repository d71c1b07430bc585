"""`bin/rebalance plan`: which slots `run` would move, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from broker.tools.rebalance_frame import add_choice, choose, load_frame, print_table
from common.cluster.slot_plan import describe_plan
from common.command_line import About

HELP = "show what would move"
ABOUT = About(
    "Show which slots would move, with the topics, messages and bytes in them: those that rendezvous hashing gives to "
    "another broker. Without --add, --drain and --slots, all brokers of the description share the slots.",
    ("--add b4", "--drain b2 --json", "--slots 0-99 --to b4"),
)


def run(argv: Sequence[str]) -> int:
    """Print the plan."""
    with load_frame("plan", argv, ABOUT, add_choice) as frame:
        view = frame.links.view(sizes=True)
        moves = choose(frame, view)
    rows = describe_plan(moves, view.sizes())
    if frame.options.json:
        print(msgspec.json.encode({"moves": rows, "slots": len(moves)}).decode())
        return 0
    if not moves:
        print("nothing to move")
        return 0
    columns = ("from", "to", "slots", "topics", "messages", "bytes")
    shown = [(row["from"], row["to"], *(f"{row[name]:,}" for name in ("count", *columns[3:]))) for row in rows]
    print_table([columns, *shown])
    return 0
