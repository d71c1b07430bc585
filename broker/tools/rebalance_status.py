"""`bin/rebalance status`: who owns how many slots, what is on the move, and whether the description says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from broker.tools.rebalance_frame import Frame, add_json, load_frame, print_table, write_description
from broker.tools.slot_links import View
from common.cluster.slot_plan import size_of
from common.cluster.slot_table import format_slots
from common.command_line import About

HELP = "show who owns what, and what is on the move"
ABOUT = About(
    "Show the slots of each broker, the moves under way and those that were refused, and whether the cluster "
    "description has the same owners. Exit code 1 where a slot has no owner that answers.",
    ("", "--json", "--write"),
)


def run(argv: Sequence[str]) -> int:
    """Print what the brokers say."""
    with load_frame("status", argv, ABOUT, _options) as frame:
        view = frame.links.view(sizes=True)
        epoch = write_description(frame, view) if frame.options.write else frame.cluster.epoch
    differs = sum(map(bool, differing(frame, view))) if epoch == frame.cluster.epoch else 0
    if frame.options.json:
        print(msgspec.json.encode(as_json(frame, view, epoch, differs)).decode())
        return int(bool(view.unowned))
    _print(frame, view)
    said = (
        f", differs in {differs} slots (--write)" if frame.cluster.explicit else ", without a table of slots (--write)"
    )
    print(f"description: {frame.path}, epoch {epoch}{said if differs else ''}")
    if view.unowned:
        print(f"no broker that answers owns slots {_slots(view.unowned)}")
    return int(bool(view.unowned))


def _options(parser: Any) -> None:
    add_json(parser)
    parser.add_argument("--write", action="store_true", help="write the owners into the cluster description")


def differing(frame: Frame, view: View) -> list[bool]:
    """Return for each slot whether the description has another owner or epoch than the brokers say."""
    return [bool(mine.broker) and mine != said for mine, said in zip(view.table, frame.cluster.table, strict=True)]


def as_json(frame: Frame, view: View, epoch: int, differs: int) -> dict[str, Any]:
    """Return everything as one object."""
    counts, sizes = Counter(view.owners), view.sizes()
    brokers = []
    for broker in frame.ids:
        table = view.tables.get(broker)
        mine = {slot: view.epochs[slot] for slot, owner in enumerate(view.owners) if owner == broker}
        topics, messages, size = size_of(sizes, mine)
        brokers.append(
            {
                "id": broker,
                "status": table.status if table else "unreachable",
                "problem": view.silent.get(broker),
                "paused": table.paused if table else False,
                "count": counts[broker],
                "slots": format_slots(mine),
                "kept": _slots(table.kept) if table else "",
                "topics": topics,
                "messages": messages,
                "bytes": size,
                "moves": [msgspec.structs.asdict(row) for row in table.moves] if table else [],
            }
        )
    return {"epoch": epoch, "differs": differs, "unowned": _slots(view.unowned), "brokers": brokers}


def _print(frame: Frame, view: View) -> None:
    rows = [("broker", "status", "slots", "topics", "messages", "bytes")]
    for each in as_json(frame, view, 0, 0)["brokers"]:
        numbers = (f"{each[name]:,}" for name in ("count", "topics", "messages", "bytes"))
        rows.append((each["id"], each["status"] + (", paused" if each["paused"] else ""), *numbers))
    print_table(rows)
    for broker, reason in view.silent.items():
        print(f"{broker}: {reason}")
    for broker, table in sorted(view.tables.items()):
        if table.kept:
            print(f"{broker} keeps topics of slots {_slots(table.kept)}, which are elsewhere (drop {broker})")
        for row in table.moves:
            if row.source == broker and row.state != "left":
                what = f"{row.records:,} records, {row.bytes:,} bytes" if row.state != "refused" else row.reason
                print(f"slot {row.slot}: {row.source} to {row.to}, {row.state}: {what}")


def _slots(slots: Sequence[int]) -> str:
    return format_slots(dict.fromkeys(slots, 1))
