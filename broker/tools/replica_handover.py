"""`bin/replica handover`: gives the log of a broker to its other candidate, and waits until that serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from broker.tools.candidates import Candidate, ask_candidates, owner_of
from broker.tools.control import Control
from broker.tools.replica_frame import Frame, add_broker, load_frame
from common.command_line import About
from common.errors import FanmailError, StartError
from common.protocol import ops
from common.protocol.ops import Op

HELP = "give a broker to its other candidate"
ABOUT = About(
    "Give the log of a broker to its other candidate, as before an upgrade of the host of the owner. The owner answers "
    "what it has, and ends; where it is supervised it comes back as a standby.",
    ("b0 --to h2 --config cluster.toml",),
    "BROKER",
)
PATIENCE_S = 30.0
POLL_S = 0.02


def run(argv: Sequence[str]) -> int:
    """Hand over. Raises `StartError`."""
    frame = load_frame("handover", argv, ABOUT, (), _options)
    (broker_id,) = frame.ids
    owner = owner_of(ask_candidates(frame.cluster, broker_id, frame.keys))
    if owner is None:
        raise StartError(f"broker {broker_id}: no candidate owns its log now")
    to = frame.options.to or next(
        each.host for each in frame.cluster.candidates(broker_id) if each.host != owner.address.host
    )
    target = frame.cluster.address(broker_id, to)
    if target == owner.address:
        print(f"{broker_id}: {to} owns the log already")
        return 0
    try:
        with Control(frame.cluster, broker_id, frame.keys, owner.address.host) as control:
            control.check()
            began = time.monotonic()
            control.ask(Op.HAND_OVER, ops.HandOver(target.name))
    except FanmailError as error:
        raise StartError(f"broker {broker_id}: {error.detail or error.code}") from None
    found = _await_owner(frame, broker_id, to, owner.term)
    print(f"{broker_id}: {to} owns the log, term {found.term}, after {time.monotonic() - began:.2f} s")
    return 0


def _options(parser: Any) -> None:
    add_broker(parser)
    parser.add_argument("--to", metavar="HOST", default="", help="host of the candidate [default: the other one]")


def _await_owner(frame: Frame, broker_id: str, to: str, before: int) -> Candidate:
    """Return the new owner. Raises `StartError` where another one comes, or none in time."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = owner_of(ask_candidates(frame.cluster, broker_id, frame.keys, only=to))
        if found is not None and found.term > before:
            return found
        time.sleep(POLL_S)
    raise StartError(
        f"broker {broker_id}: {to} has not taken over within {PATIENCE_S:.0f} s (status shows who owns it)"
    )
