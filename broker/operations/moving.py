"""The operator's operations on the slots of a broker; the table is in `broker/operations/control.py`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import groupby

from broker.operations.context import Context, MoveControl
from broker.operations.export import size_of
from broker.operations.taking import check_durable, refused
from broker.slot_records import DROPPED, KEPT, Owns, SlotLeft, bitmap_of
from common.clock import Now
from common.cluster.slots import SLOTS
from common.protocol import ops
from common.protocol.move_ops import (
    NO_SIZES,
    AbortMove,
    ClaimSlots,
    DropSlots,
    ListSlots,
    MoveRow,
    MoveSlot,
    PauseMoves,
    SlotPointer,
    SlotRun,
    SlotSize,
    SlotTable,
)

log = logging.getLogger("fanmail.broker")


def move_slot(context: Context, args: MoveSlot, now: Now) -> MoveRow:
    """Begin to move a slot, or say how its move stands. Raise `move-refused`."""
    check_durable(context)
    return _control(context).move(args.slot, args.to, now)


def abort_move(context: Context, args: AbortMove, now: Now) -> MoveRow:
    """End the move of a slot, unless it has arrived. Raise `move-refused` where there is none."""
    check_durable(context)
    return _control(context).abort(args.slot, now)


def pause_moves(context: Context, args: PauseMoves, now: Now) -> ops.Nothing:
    """Refuse to begin further moves from now on, or begin them again. Those under way go on."""
    _control(context).paused = args.on
    log.warning("moves paused by the operator" if args.on else "moves resumed by the operator")
    return ops.Nothing()


def claim_slots(context: Context, args: ClaimSlots, now: Now) -> SlotTable:
    """Own slots, at the operator's word. Raise `move-refused` where an epoch is not greater than all that are known."""
    check_durable(context)
    slots, control = context.state.slots, _control(context)
    for slot in args.slots:
        if slot in slots.coming or slot in context.residue:
            raise refused(f"slot {slot} is on the move here")
        known = slots.epoch_of(slot) + (slot in slots.leaving)  # it may have arrived where nobody can say so
        if args.epoch <= known:
            raise refused(f"slot {slot} may have epoch {known}: claim it with a greater one")
    log.warning("slots claimed by the operator", extra={"slots": len(set(args.slots)), "epoch": args.epoch})
    for slot in slots.leaving.keys() & set(args.slots):
        control.give_up(slot, now)
    context.emit(Owns(bitmap_of(args.slots), args.epoch))
    context.thawed += args.slots
    return list_slots(context, ListSlots(), now)


def drop_kept(context: Context, args: DropSlots, now: Now) -> ops.Nothing:
    """Begin to end what this store has kept of slots that are elsewhere. Raise `move-refused` for any other slot."""
    check_durable(context)
    slots, kept = context.state.slots, set(_kept(context))
    for slot in args.slots:
        if slot not in kept:
            raise refused(f"slot {slot} is none that a restored store has kept")
    log.warning("what was kept of slots is dropped by the operator", extra={"slots": len(set(args.slots))})
    for slot in sorted(set(args.slots)):
        it = slots.left[slot]
        context.emit(SlotLeft(slot, it.to, DROPPED, it.epoch))
        context.residue.add(slot)
    return ops.Nothing()


def list_slots(context: Context, args: ListSlots, now: Now) -> SlotTable:
    """Return the slots of this broker, and the sizes of as many as the turn allows."""
    slots, control = context.state.slots, _control(context)
    sizes, sizes_next = _sizes(context, args.sizes_from)
    epochs = slots.epochs if slots.known else dict.fromkeys(control.described(), 0)
    return SlotTable(
        broker=control.broker,
        status=control.status,
        map_epoch=control.map_epoch,
        map_digest=control.map_digest,
        version=slots.version if slots.known else 0,
        owned=list(_runs(epochs)),
        left=[SlotPointer(slot, it.to, it.epoch) for slot, it in sorted(slots.left.items())],
        moves=[*control.rows(), *_coming(context)],
        sizes=sizes,
        sizes_next=sizes_next,
        paused=control.paused,
        kept=list(_kept(context)),
    )


def _control(context: Context) -> MoveControl:
    if context.moves is None:
        raise refused("this broker does not move slots")
    return context.moves


def _coming(context: Context) -> Iterator[MoveRow]:
    control = _control(context)
    for slot, it in context.state.slots.coming.items():
        adoption = context.adoptions.get(slot)
        received = (adoption.records, adoption.bytes) if adoption else (0, 0)
        yield MoveRow(slot, control.broker, it.source, it.move, "coming", *received)


def _kept(context: Context) -> Iterator[int]:
    slots = context.state.slots
    return (slot for slot, it in sorted(slots.left.items()) if it.move == KEPT and slot in slots.names)


def _runs(epochs: dict[int, int]) -> Iterator[SlotRun]:
    """Yield slots as ranges of one epoch."""
    numbered = enumerate(sorted(epochs))
    for (_, epoch), run in groupby(numbered, key=lambda each: (each[1] - each[0], epochs[each[1]])):
        found = [slot for _, slot in run]
        yield SlotRun(found[0], found[-1], epoch)


def _sizes(context: Context, first: int) -> tuple[list[SlotSize], int]:
    """Return the sizes of slots, and where to go on; at least one slot with topics, also where the turn has no more."""
    found: list[SlotSize] = []
    if first == NO_SIZES:
        return found, SLOTS
    owned, names = context.state.slots.epochs, context.state.slots.names
    for slot in range(first, SLOTS):
        topics = len(names.get(slot, ()))
        if not topics or (context.state.slots.known and slot not in owned):
            continue
        if found and topics > context.scan_budget:
            return found, slot
        context.scan_budget -= topics
        size = size_of(context, slot)
        found.append(SlotSize(slot, size.topics, size.messages, size.bytes))
    return found, SLOTS
