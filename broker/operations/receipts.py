"""Acknowledging, extending and releasing leased messages by their receipts; the dead-letter list."""

from __future__ import annotations

from broker.operations.context import Context, SubscriptionRef, touch
from broker.operations.lease_limits import affordable, check_room
from broker.operations.leasing import forget_lost, release
from broker.records import DeadEnded, DeadReturned, Finished, Leased
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops
from common.protocol.wire import Request

NEVER_GIVEN = "bad-parameter"
LOST = "lease-lost"


def finish(context: Context, request: Request, args: ops.Finish, now: Now) -> ops.Finished:
    """Acknowledge the messages of valid receipts; what is done already stays done."""
    ref = touch(context, request, now)
    forget_lost(ref)
    held: dict[int, None] = {}
    dead: dict[int, None] = {}
    codes = []
    epoch, delivery = ref.topic.epoch, ref.subscription.delivery
    entries = delivery.leases.held if delivery is not None else {}
    for receipt in args.receipts:
        entry = entries.get(receipt.seq)
        if entry is not None and receipt.attempt == entry.attempt and entry.letter is None and receipt.epoch == epoch:
            held[receipt.seq] = None  # as nearly all are
            codes.append("")
            continue
        code = _judge(ref, receipt)
        done_now = receipt.seq in held or receipt.seq in dead
        if done_now and receipt.epoch == epoch and receipt.attempt > 0:
            code = ""  # as if each receipt had come alone
        if not code and _is_held(ref, receipt.seq):
            held[receipt.seq] = None
        elif not code and _is_dead(ref, receipt.seq):
            dead[receipt.seq] = None
        codes.append(code)
    if held:
        ref.emit(Finished, tuple(held))
    if dead:
        ref.emit(DeadEnded, tuple(dead))
    return ops.Finished(codes)


def extend(context: Context, request: Request, args: ops.Extend, now: Now) -> ops.Nothing:
    """Restart the lease from now on, or end it.

    Raises `lease-lost` (409), `bad-parameter` (400), and `too-many-leases` (429) where the lease had ended.
    """
    ref = touch(context, request, now)
    forget_lost(ref)
    seq = args.receipt.seq
    code = _judge(ref, args.receipt)
    if code == NEVER_GIVEN:
        raise FanmailError(code, "parameter 'receipt' was never issued", parameter="receipt")
    if code or not _is_held(ref, seq):
        raise FanmailError(LOST, "the message is done or was delivered again, or its topic has ended since")
    if args.lease > 0:
        delivery = ref.subscription.delivery
        if delivery is not None and not delivery.leases.held[seq].until_us:
            check_room(ref)
        ref.emit(Leased, seq, 1, args.receipt.attempt, now.mono + args.lease)
    else:
        release(ref, [seq], now.mono + args.delay if args.delay > 0 else 0, now)
    return ops.Nothing()


def list_dead(context: Context, request: Request, args: ops.ListDead, now: Now) -> ops.DeadLetters:
    """List dead letters. Takes nothing."""
    ref = touch(context, request, now)
    delivery = ref.subscription.delivery
    letters, there = delivery.dead.behind(args.after, max(0, args.max)) if delivery else ([], 0)
    shown: list[ops.DeadLetter] = []
    room = args.max_bytes
    for each in letters:
        if shown and len(each.body) > room:
            break
        expired = each.has_expired(now)
        shown.append(ops.DeadLetter(each.seq, each.time, each.attempt, each.headers, each.body, expired))
        room -= len(each.body)
    return ops.DeadLetters(ref.topic.epoch, there - len(shown), shown)


def return_dead(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Counted:
    """Put the user's dead letters back, the longest dead first, as many as the topic may hold.

    Expired ones stay: nobody would receive them. Raises `too-many-leases` (429) where there are some and none may be
    held.
    """
    ref = touch(context, request, now)
    seqs = affordable(ref, _dead(ref, now))
    if seqs:
        ref.emit(DeadReturned, seqs)
        context.woken.append((request.topic, request.user))
    return ops.Counted(len(seqs))


def clear_dead(context: Context, request: Request, args: ops.Nothing, now: Now) -> ops.Counted:
    """Delete the user's dead letters."""
    ref = touch(context, request, now)
    seqs = _dead(ref)
    if seqs:
        ref.emit(DeadEnded, seqs)
    return ops.Counted(len(seqs))


def _judge(ref: SubscriptionRef, receipt: ops.Receipt) -> str:
    """Return "" where the receipt is valid or its message done, else the error's code."""
    topic, subscription, delivery = ref.topic, ref.subscription, ref.subscription.delivery
    if receipt.epoch != topic.epoch:
        return LOST
    if receipt.attempt < 1:
        return NEVER_GIVEN
    if delivery is not None:
        held, letter = delivery.leases.held.get(receipt.seq), delivery.dead.letters.get(receipt.seq)
        kept = held or letter
        if kept is not None and receipt.attempt > kept.attempt:
            return NEVER_GIVEN
        if kept is not None and (receipt.attempt < kept.attempt or (held and not held.deliveries)):
            return LOST  # putting a letter back invalidates its earlier receipts
        if kept is not None:
            return ""
    return "" if 0 < receipt.seq < subscription.position else NEVER_GIVEN


def _is_held(ref: SubscriptionRef, seq: int) -> bool:
    delivery = ref.subscription.delivery
    return delivery is not None and seq in delivery.leases.held


def _is_dead(ref: SubscriptionRef, seq: int) -> bool:
    delivery = ref.subscription.delivery
    return delivery is not None and seq in delivery.dead.letters


def _dead(ref: SubscriptionRef, alive_at: Now | None = None) -> tuple[int, ...]:
    """Return the user's dead letters; with `alive_at`, those that are not expired then."""
    letters = ref.subscription.delivery.dead.letters if ref.subscription.delivery else {}
    if alive_at is None:
        return tuple(letters)
    return tuple(seq for seq, letter in letters.items() if not letter.has_expired(alive_at))
