"""The calls of the admin API about slots. `Admin` and `AsyncAdmin` have a method for each of these functions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar, cast

from fanmail.encoding import encode_path, encode_query
from fanmail.http_call import Call, Request, Response
from fanmail.responses import parse_nothing
from fanmail.slots import BrokerSlots, PlannedGroup, PlannedMove, SlotMove, SlotPlan, Slots, SlotState

T = TypeVar("T")


def slots() -> Call[Slots]:
    """Return who owns which slots, and what is on the move.

    >>> admin.slots().unowned
    ''
    """
    return Call(Request("GET", _at()), _slots)


def slot_plan(
    add: Iterable[str] = (), drain: Iterable[str] = (), *, slots: str = "", to: str | None = None
) -> Call[SlotPlan]:
    """Return which slots would be moved, and what is in them.

    Without arguments, all brokers of the cluster description share the slots.

    Args:
        add: Brokers that are to share the slots too.
        drain: Brokers that are to have none.
        slots: Instead of these, certain slots, such as `0-99,105`, that move to the broker `to`.
        to: The broker that gets them.
    """
    query = {"add": ",".join(add) or None, "drain": ",".join(drain) or None, "slots": slots or None, "to": to}
    return Call(Request("GET", _at("plan") + encode_query(query)), _plan)


def slot_state(slot: int) -> Call[SlotState]:
    """Return the owner of a slot, and its move where one is under way or was refused."""
    return Call(Request("GET", _at(str(slot), "move")), _state)


def move_slot(slot: int, to: str) -> Call[SlotMove]:
    """Begin the move of a slot, which clients do not notice except for a short delay. `slot_state` tells how it ends.

    Raises `FanmailError` with the code `move-refused` if it cannot be moved.
    """
    request = Request("PUT", _at(str(slot), "move") + encode_query({"to": to}))
    return Call(request, lambda response: _move(_document(response)))


def abort_move(slot: int) -> Call[SlotMove]:
    """End the move of a slot. It stays where it was, unless it has arrived already."""
    return Call(Request("DELETE", _at(str(slot), "move")), lambda response: _move(_document(response)))


def pause_moves() -> Call[None]:
    """Let no broker begin another move until `resume_moves` or its restart; moves under way go on."""
    return Call(Request("PUT", _at("pause")), parse_nothing)


def resume_moves() -> Call[None]:
    """Let all brokers begin moves again."""
    return Call(Request("DELETE", _at("pause")), parse_nothing)


def _at(*names: str) -> str:
    return encode_path("-", "v1", "slots", *names)


def _document(response: Response) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.body)
    return document


def _value(kind: type[T], members: dict[str, Any]) -> T:
    """Return a value made of the members that its class has, where `from` is `source`."""
    renamed = members | {"source": members.get("from")}
    return kind(**{each.name: renamed[each.name] for each in fields(cast(Any, kind))})


def _move(members: dict[str, Any]) -> SlotMove:
    return _value(SlotMove, members)


def _slots(response: Response) -> Slots:
    document = _document(response)
    brokers = tuple(_value(BrokerSlots, each) for each in document["brokers"])
    return Slots(brokers, tuple(map(_move, document["moves"])), document["unowned"])


def _state(response: Response) -> SlotState:
    document = _document(response)
    return SlotState(document["slot"], document["owner"], _move(document["move"]) if document["move"] else None)


def _plan(response: Response) -> SlotPlan:
    document = _document(response)
    moves = tuple(_value(PlannedMove, each) for each in document["moves"])
    return SlotPlan(moves, tuple(_value(PlannedGroup, each) for each in document["groups"]))
