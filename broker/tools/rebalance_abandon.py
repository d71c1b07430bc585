"""`bin/rebalance abandon`: gives the slots of a broker that is lost for ever to others, empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.tools.rebalance_frame import Frame, load_frame, refuse_memory, try_to_write_description
from broker.tools.slot_links import View
from common.cluster.slot_plan import spread
from common.command_line import About
from common.errors import FanmailError, StartError
from common.program import launcher
from common.protocol import move_ops
from common.protocol.ops import Op

HELP = "give up the slots of a broker that is lost for ever"
ABOUT = About(
    "Give the slots of a broker whose store is lost for ever to the other brokers. What was in these slots is lost: "
    "their topics begin anew, without subscriptions. Where there is a backup or another candidate, use that instead. "
    "All other brokers must answer, and the lost one must not.",
    ("b2 --yes",),
    "BROKER",
)


def run(argv: Sequence[str]) -> int:
    """Claim the slots of a lost broker. Raises `StartError`."""
    with load_frame("abandon", argv, ABOUT, _options) as frame:
        lost = frame.options.broker
        if lost not in frame.ids:
            raise StartError(f"broker {lost} is not in the cluster description")
        view = frame.links.view()
        _check(frame, view, lost)
        orphans = _orphans(frame, view, lost)
        if not orphans:
            print(f"broker {lost} owns nothing: take it out of the description")
            return 0
        if not frame.options.yes:
            raise StartError(f"{len(orphans)} slots of broker {lost} would be given up with all that is in them: --yes")
        _claim(frame, view, lost, orphans)
        try_to_write_description(frame)
    print(f"{len(orphans)} slots of broker {lost} have other owners: take it out of the description")
    return 0


def _options(parser: Any) -> None:
    parser.add_argument("broker", metavar="BROKER", help="id of the lost broker")
    parser.add_argument("--yes", action="store_true", help="what was in the slots is lost, and may be lost")


def _check(frame: Frame, view: View, lost: str) -> None:
    refuse_memory(view)
    if lost in view.tables:
        raise StartError(
            f"broker {lost} answers: {launcher('rebalance')} run --drain {lost} moves its slots without loss"
        )
    for broker in frame.ids:
        if broker != lost and broker in view.silent:
            raise StartError(f"broker {broker}: {view.silent[broker]}: it may own some of the slots of {lost}")


def _orphans(frame: Frame, view: View, lost: str) -> dict[int, int]:
    """Return the slots that nobody owns, with the greatest epoch that anybody has named for them."""
    found = {slot: frame.cluster.table[slot].epoch for slot in view.unowned}
    for table in view.tables.values():
        for pointer in table.left:
            if pointer.slot in found:
                found[pointer.slot] = max(found[pointer.slot], pointer.epoch)
    return found


def _claim(frame: Frame, view: View, lost: str, orphans: dict[int, int]) -> None:
    """Let each of the others claim its share, above every epoch that was named. Raises `StartError`."""
    epoch = max(*orphans.values(), *view.epochs) + 1
    others = [broker for broker in frame.ids if broker != lost]
    for broker, slots in spread(orphans, others).items():
        try:
            frame.links.ask(broker, Op.CLAIM, move_ops.ClaimSlots(slots, epoch))
        except FanmailError as error:
            raise StartError(f"broker {broker}: {error.detail or error.code}") from None
