"""The part of the target of a move: whether it can take a slot, taking it, and saying whether it has arrived."""

from __future__ import annotations

import logging

from broker.operations.adoption import Adoption
from broker.operations.context import Context
from broker.operations.limits import on_disk
from broker.records import SubscriptionEnded
from broker.slot_records import SlotArrived, SlotComing, SlotDropped
from broker.state.piece import MESSAGE_COST
from common.clock import Now
from common.errors import FanmailError
from common.program import launcher
from common.protocol import ops
from common.protocol.move_ops import Adopt, Adopted, AskMove, MoveOutcome, OfferSlot

log = logging.getLogger("fanmail.broker")


def refused(reason: str) -> FanmailError:
    """Return the error that refuses a move."""
    return FanmailError("move-refused", reason)


def offer(context: Context, args: OfferSlot, now: Now) -> ops.Nothing:
    """Say whether this broker can take a slot. Raise `move-refused`.

    A source sends it one slot at a time: what had come before from there is dropped.
    """
    for slot, it in list(context.state.slots.coming.items()):
        if it.source == args.source:
            drop(context, slot, *it)
    _check_free(context, args.slot, args.epoch)
    state, limits = context.state, context.limits
    for what, wanted, most in (
        ("topics", len(state.topics) + args.topics, limits.topics),
        ("subscriptions", state.subscriptions + args.subscriptions, limits.subscriptions),
        ("bytes in its largest body", args.largest, context.max_body or args.largest),
        ("bytes of dead letters", state.delivery_totals.dead.topics.total + args.dead, limits.dead_memory),
    ):
        if wanted > most:
            raise refused(f"the target would have {wanted} {what}, and its limit is {most}")
    if not limits.make_room(state, args.memory):
        raise refused(f"the slot takes {args.memory} bytes of memory: the target is at its ceiling of {limits.memory}")
    if on_disk(args.bytes) + args.messages * 1024 > context.writable_bytes:
        raise refused(f"the slot has {args.bytes} bytes: the disk of the target has no room for them")
    return ops.Nothing()


def adopt(context: Context, args: Adopt, now: Now) -> Adopted:
    """Take a part of a slot; with the last one this broker owns it. Raise `move-refused`, having changed nothing."""
    slots, move = context.state.slots, (args.source, args.move)
    begins = args.n == 1 and args.slot not in slots.coming
    if begins:
        _check_free(context, args.slot, args.epoch)
        if args.move <= slots.seen.get(args.source, 0):
            raise refused(f"move {args.move} of broker {args.source} is not accepted any more")
        adoption = Adoption(args, now)
    else:
        found = context.adoptions.get(args.slot)
        if found is None or slots.coming.get(args.slot) != move or args.n != found.parts + 1:
            raise refused(f"part {args.n} of move {args.move} is not the one that is expected")
        adoption = found
    records = adoption.unpack(args, now)
    _check_room(context, len(args.body), len(records))
    if begins:
        context.residue.discard(args.slot)  # nothing is left of it, and what comes is not to be ended
        context.emit(SlotComing(args.slot, *move))
        context.adoptions[args.slot] = adoption
    for record in records:
        context.emit(adoption.own(record, context.state))
        if type(record) is not SubscriptionEnded:  # the end of its topic may follow
            context.may_cut()
    context.reserve(len(args.body), len(records))
    adoption.took(len(records), len(args.body), now)
    if not args.last:
        return Adopted(args.n)
    del context.adoptions[args.slot]
    context.emit(SlotArrived(args.slot, *move, args.epoch + 1))
    context.thawed.append(args.slot)
    about = {"slot": args.slot, "source": args.source, "records": adoption.records, "bytes": adoption.bytes}
    log.info("a slot has arrived", extra=about)
    return Adopted(args.n, args.epoch + 1)


def ask_move(context: Context, args: AskMove, now: Now) -> MoveOutcome:
    """Say whether a slot has arrived here, and perhaps gone on since; else refuse this move for ever.

    Only a move from the source's epoch makes a greater one, so that a greater one means that this move has arrived.
    """
    slots = context.state.slots
    check_durable(context)
    epoch = slots.epoch_of(args.slot)
    if epoch > args.epoch:
        pointer = slots.left.get(args.slot)
        return MoveOutcome(True, epoch, pointer.to if pointer and args.slot not in slots.epochs else "")
    drop(context, args.slot, args.source, args.move)
    return MoveOutcome(False)


def drop(context: Context, slot: int, source: str, move: int) -> None:
    """Refuse a move from now on, and begin to remove what has come of it."""
    slots = context.state.slots
    if slots.coming.get(slot) == (source, move):
        context.adoptions.pop(slot, None)
        log.warning("what had come of a slot is dropped", extra={"slot": slot, "source": source})
    elif slots.seen.get(source, 0) >= move:
        return
    context.emit(SlotDropped(slot, source, move))
    if slots.gone(slot):
        context.residue.add(slot)


def check_durable(context: Context) -> None:
    """Raise `move-refused` where the store does not say what this broker owns."""
    if not context.state.slots.known:
        raise refused("slots do not move to or from brokers that keep messages in memory only (--store memory)")


def _check_free(context: Context, slot: int, epoch: int) -> None:
    check_durable(context)
    slots = context.state.slots
    if slots.epoch_of(slot) > epoch:
        raise refused(f"slot {slot} was owned with epoch {slots.epoch_of(slot)}: the source is older, with {epoch}")
    if slot in slots.epochs:
        raise refused(f"the target owns slot {slot} already")
    if slot in slots.coming:
        raise refused(f"slot {slot} is coming to the target already")
    if slot in slots.names:
        pointer = slots.left.get(slot)
        if pointer is not None and not pointer.move:
            end_it = f"{launcher('rebalance')} drop ends them"
            raise refused(f"the target was restored, and keeps topics of slot {slot} that nobody can read: {end_it}")
        raise refused(f"the target has topics of slot {slot} left over from before: try again later")


def _check_room(context: Context, size: int, rows: int) -> None:
    if on_disk(size, rows) > context.writable_bytes:
        raise refused("the disk of the target is full")
    if not context.limits.make_room(context.state, size + rows * MESSAGE_COST):
        raise refused("the memory of the target is full")
