"""Operations on the broker as a whole: pages of its topics, a backup, the operator's pause."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

from broker.operations import admin_delayed, admin_topics, moving, taking
from broker.operations.context import Context
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op

log = logging.getLogger("fanmail.broker")


def pause(context: Context, args: ops.Pause, now: Now) -> ops.Nothing:
    """Refuse publishes and new subscriptions from now on, or accept them again."""
    context.paused = args.on
    log.warning("paused by the operator" if args.on else "resumed by the operator")
    return ops.Nothing()


def backup(context: Context, args: ops.Backup, now: Now) -> ops.BackupProgress:
    """Begin a copy of the store, or report its progress. Raise `backup-failed`."""
    if context.backup is None:
        raise FanmailError("backup-failed", "this broker has no store to copy")
    return context.backup(args.name)


def read_backup(context: Context, args: ops.ReadBackup, now: Now) -> ops.BackupPart:
    """Return a part of a complete copy. Raise `backup-failed`."""
    if context.read_backup is None:
        raise FanmailError("backup-failed", "this broker has no store to copy")
    return context.read_backup(args.name, args.offset, args.length)


def replica(context: Context, args: ops.Nothing, now: Now) -> ops.Replica:
    """Return where this candidate stands. Raise `handover-failed` where there is no replicated log."""
    if context.replica is None:
        raise FanmailError("handover-failed", "this broker has no replicated log")
    return context.replica.status()


def hand_over(context: Context, args: ops.HandOver, now: Now) -> ops.Nothing:
    """Begin to give the log to another candidate; this process then ends. Raise `handover-failed`."""
    if context.replica is None:
        raise FanmailError("handover-failed", "this broker has no replicated log")
    context.replica.hand_over(args.to)
    return ops.Nothing()


ON_SLOTS: dict[Op, Callable[..., Struct]] = {
    Op.MOVE: moving.move_slot,
    Op.MOVE_ABORT: moving.abort_move,
    Op.MOVES_PAUSE: moving.pause_moves,
    Op.CLAIM: moving.claim_slots,
    Op.SLOTS_DROP: moving.drop_kept,
    Op.OFFER: taking.offer,
    Op.ADOPT: taking.adopt,
    Op.MOVE_ASK: taking.ask_move,
}
"""They are executed by a broker that is ready, and by no other."""
_AT_STANDBYS = frozenset((Op.BACKUP, Op.BACKUP_READ, Op.REPLICA, Op.HAND_OVER))
"""They say nothing about the contents that could be out of date."""


def check_allowed(op: Op, *, standby: bool, stalled: bool) -> None:
    """Raise `log-stalled` or `standby` (503) for what may not be executed now at a candidate of a replicated log."""
    if stalled and op is not Op.REPLICA:
        raise FanmailError("log-stalled", "the broker's log has not answered for a second")
    if standby and op not in _AT_STANDBYS:
        raise FanmailError("standby", "another candidate owns the log")


CONTROL: dict[Op, Callable[..., Struct]] = {
    Op.BACKUP: backup,
    Op.BACKUP_READ: read_backup,
    Op.REPLICA: replica,
    Op.HAND_OVER: hand_over,
    Op.PAUSE: pause,
    Op.TOPICS: admin_topics.list_topics,
    Op.DELAYED_TOPICS: admin_delayed.list_topics,
    Op.SLOTS: moving.list_slots,
    **ON_SLOTS,
}
"""Handlers of operations that name no topic. The dispatcher itself answers PING, GOODBYE and STATS."""
