"""`/-/v1/slots`: which broker owns which slots, what is on the move and what would be moved."""

from __future__ import annotations

from typing import Any, NamedTuple

import falcon
from msgspec import structs

from common.cluster.slot_plan import (
    MEMORY,
    PlannedMove,
    describe_plan,
    described_slots,
    owners_of,
    plan_moves,
    plan_slots,
    size_of,
    wanted_brokers,
    why_in_memory,
)
from common.cluster.slot_table import format_slots, parse_slots
from common.cluster.slots import SLOTS
from common.errors import FanmailError
from common.protocol import move_ops
from common.protocol.ops import Op
from common.units import names
from httpfront.formats.documents import render
from httpfront.formats.params import count, flag, read_parameters, refused
from httpfront.gateway.gateway import Gateway

TIMEOUT_S = 2.0
"""How long a broker has to answer."""


class Slots(NamedTuple):
    """What the brokers say of their slots."""

    tables: dict[str, move_ops.SlotTable]
    """Of the brokers that have answered."""
    owners: list[str]
    """By slot; "" where no broker says that it is its own."""
    epochs: list[int]
    sizes: dict[int, move_ops.SlotSize]
    """What is in each slot that is not empty."""


def ask_slots(gateway: Gateway, *, sizes: bool = True) -> Slots:
    """Ask all brokers for their slots, with what is in them where `sizes` are wanted."""
    answers = gateway.ask_all(Op.SLOTS, move_ops.ListSlots(0 if sizes else move_ops.NO_SIZES), TIMEOUT_S)
    tables: dict[str, move_ops.SlotTable] = {
        broker: table for broker, table in answers.items() if isinstance(table, move_ops.SlotTable)
    }
    described = gateway.owners()
    owners, epochs = owners_of(
        (broker, described_slots(described, broker) if table.status == MEMORY else table.owned)
        for broker, table in tables.items()
    )
    found: dict[int, move_ops.SlotSize] = {}
    for broker, table in tables.items():
        more: Any = table
        while isinstance(more, move_ops.SlotTable):
            found |= {each.slot: each for each in more.sizes if owners[each.slot] == broker}
            if not sizes or more.sizes_next >= SLOTS:
                break
            more = gateway.ask_all(Op.SLOTS, move_ops.ListSlots(more.sizes_next), TIMEOUT_S, [broker])[broker]
    return Slots(tables, owners, epochs, found)


class SlotsResource:
    """All slots."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the slots of each broker, the moves under way, and the slots that no broker owns."""
        values = read_parameters(req, {"sizes": flag})
        slots = ask_slots(self._gateway, sizes=values.get("sizes", True))
        unowned = [slot for slot, owner in enumerate(slots.owners) if not owner]
        moves = [
            move_members(row)
            for broker, table in slots.tables.items()
            for row in table.moves
            if row.source == broker and row.state != "left"
        ]
        brokers = [_broker(broker, slots) for broker in self._gateway.brokers()]
        render(resp, {"brokers": brokers, "moves": moves, "unowned": format_slots(dict.fromkeys(unowned, 1))})

    on_head = on_get


class SlotPlanResource:
    """What would be moved."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the moves for brokers to add and to drain, for certain slots, or for all brokers.

        Raises `move-refused` where brokers keep their messages in memory.
        """
        values = read_parameters(req, {"add": names, "drain": names, "slots": str, "to": str, "sizes": flag})
        slots = ask_slots(self._gateway, sizes=values.get("sizes", True))
        reason = why_in_memory({broker: table.status for broker, table in slots.tables.items()})
        if reason:
            raise FanmailError("move-refused", reason)
        moves = self._plan(values, slots.owners)
        render(
            resp,
            {
                "moves": [{"slot": move.slot, "from": move.source, "to": move.to} for move in moves],
                "groups": describe_plan(moves, slots.sizes),
            },
        )

    on_head = on_get

    def _plan(self, values: dict[str, Any], owners: list[str]) -> list[PlannedMove]:
        described = list(self._gateway.brokers())
        try:
            if "slots" in values or "to" in values:
                if values.get("to") not in described:
                    raise refused("to", "must be the id of a broker, together with slots")
                return plan_slots(owners, parse_slots(values.get("slots", "")), values["to"])
            wanted = wanted_brokers(owners, described, values.get("add", ()), values.get("drain", ()))
        except ValueError as error:
            raise FanmailError("bad-parameter", str(error)) from None
        return plan_moves(owners, wanted)


class SlotMoveResource:
    """Begin the move of a slot (PUT), ask how it stands (GET), and end it (DELETE)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response, slot: bytes) -> None:
        """Return the owner of a slot, and its move where one is under way or was refused."""
        read_parameters(req, {})
        number = _number(slot)
        slots = ask_slots(self._gateway, sizes=False)
        rows = [row for broker, table in slots.tables.items() for row in table.moves if row.source == broker]
        mine = next((move_members(row) for row in rows if row.slot == number), None)
        render(resp, {"slot": number, "owner": slots.owners[number] or None, "move": mine})

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, slot: bytes) -> None:
        values = read_parameters(req, {"to": str})
        number = _number(slot)
        if values.get("to") not in self._gateway.brokers():
            raise refused("to", "must be the id of a broker")
        if self._gateway.owners()[number] == values["to"]:
            raise FanmailError("move-refused", f"broker {values['to']} owns slot {number}")
        self._tell(resp, number, Op.MOVE, move_ops.MoveSlot(number, values["to"]))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, slot: bytes) -> None:
        read_parameters(req, {})
        number = _number(slot)
        self._tell(resp, number, Op.MOVE_ABORT, move_ops.AbortMove(number))

    def _tell(self, resp: falcon.Response, slot: int, op: Op, args: Any) -> None:
        owner = self._gateway.owners()[slot]
        if owner not in self._gateway.brokers():
            raise FanmailError("broker-down", f"the owner of slot {slot} is not known here")
        answer = self._gateway.ask_all(op, args, TIMEOUT_S, [owner])[owner]
        if isinstance(answer, FanmailError):
            raise answer
        render(resp, move_members(answer))


class SlotsPauseResource:
    """Let no more moves begin (PUT), or let them begin (DELETE), at every broker that answers."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._tell(req, resp, True)

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._tell(req, resp, False)

    def _tell(self, req: falcon.Request, resp: falcon.Response, on: bool) -> None:
        read_parameters(req, {})
        answers = self._gateway.ask_all(Op.MOVES_PAUSE, move_ops.PauseMoves(on), TIMEOUT_S)
        missing = sorted(broker for broker, answer in answers.items() if isinstance(answer, FanmailError))
        render(resp, {"paused": on, "missing": missing})


def move_members(row: move_ops.MoveRow) -> dict[str, Any]:
    """Return a move as a JSON object."""
    members = structs.asdict(row)
    return {"slot": members.pop("slot"), "from": members.pop("source"), **members}


def _broker(broker: str, slots: Slots) -> dict[str, Any]:
    mine = {slot: slots.epochs[slot] for slot, owner in enumerate(slots.owners) if owner == broker}
    table = slots.tables.get(broker)
    topics, messages, size = size_of(slots.sizes, mine)
    return {
        "id": broker,
        "status": table.status if table else "unreachable",
        "paused": bool(table and table.paused),
        "count": len(mine),
        "slots": format_slots(mine),
        "topics": topics,
        "messages": messages,
        "bytes": size,
    }


def _number(slot: bytes) -> int:
    try:
        return count(SLOTS - 1)(slot.decode())
    except ValueError as error:
        raise FanmailError("bad-name", f"slot {error}") from None
