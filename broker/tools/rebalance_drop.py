"""`bin/rebalance drop`: ends what a restored store has kept of slots that other brokers own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.tools.rebalance_frame import Frame, add_slots, load_frame
from broker.tools.slot_links import View
from common.cluster.slot_table import format_slots, parse_slots
from common.command_line import About
from common.errors import FanmailError, StartError
from common.protocol import move_ops
from common.protocol.ops import Op

HELP = "end what a restored store has kept of slots that are elsewhere"
ABOUT = About(
    "End the topics that a restored store has kept although their slots have other owners now. Nobody can read them, "
    "and these slots cannot move back while they are there. The owners must answer; what they have is not touched.",
    ("b1 --yes", "b1 --slots 17 --yes"),
    "BROKER",
)


def run(argv: Sequence[str]) -> int:
    """Drop what was kept. Raises `StartError`."""
    with load_frame("drop", argv, ABOUT, _options) as frame:
        broker = frame.options.broker
        if broker not in frame.ids:
            raise StartError(f"broker {broker} is not in the cluster description")
        view = frame.links.view()
        slots = _chosen(frame, view, broker)
        if not slots:
            print(f"broker {broker} keeps nothing of slots that are elsewhere")
            return 0
        named = format_slots(dict.fromkeys(slots, 1))
        if not frame.options.yes:
            raise StartError(f"what broker {broker} has of slots {named} would be deleted: --yes")
        try:
            frame.links.ask(broker, Op.SLOTS_DROP, move_ops.DropSlots(slots))
        except FanmailError as error:
            raise StartError(f"broker {broker}: {error.detail or error.code}") from None
    print(f"broker {broker} drops what it has kept of slots {named}")
    return 0


def _options(parser: Any) -> None:
    parser.add_argument("broker", metavar="BROKER", help="id of the broker whose store was restored")
    parser.add_argument("--yes", action="store_true", help="what it has kept may be deleted")
    add_slots(parser)


def _chosen(frame: Frame, view: View, broker: str) -> list[int]:
    """Return the slots that are meant, each with an owner that answers. Raises `StartError`."""
    if broker in view.silent:
        raise StartError(f"broker {broker}: {view.silent[broker]}")
    kept = view.tables[broker].kept
    try:
        wanted = parse_slots(frame.options.slots)
    except ValueError as error:
        raise StartError(f"--slots: {error}") from None
    if wanted and (others := sorted(set(wanted) - set(kept))):
        raise StartError(f"broker {broker} keeps nothing of slots {format_slots(dict.fromkeys(others, 1))}")
    slots = sorted(wanted) or kept
    for slot in slots:
        if view.owners[slot] in ("", broker):
            raise StartError(f"slot {slot} has no other owner that answers: what is kept may be all that there is")
    return slots
