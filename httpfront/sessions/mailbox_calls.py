"""The operations of a session on one mailbox that are one call to its broker each."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions import operations as wanted
from httpfront.sessions.acknowledging import Acknowledging
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.pending import Pending
from httpfront.sessions.ports import Owner
from httpfront.sessions.readings import Readings
from httpfront.sessions.values import (
    cursor_of,
    delay_of,
    lease_of,
    receipt_of,
    receipt_text_of,
    receipt_texts_of,
    settings_of,
)


class MailboxCalls:
    """Of one session."""

    __slots__ = ("_owner", "_readings")

    def __init__(self, owner: Owner, readings: Readings) -> None:
        self._owner = owner
        self._readings = readings

    def subscribe(self, mailbox: Mailbox, op: wanted.Subscribe | wanted.Unsubscribe, size: int) -> None:
        """Subscribe or unsubscribe. Raises `FanmailError` where it cannot be begun, as all do here."""
        if isinstance(op, wanted.Subscribe):
            self._start(mailbox, Op.SUBSCRIBE, settings_of(op), op, size)
        else:
            self._start(mailbox, Op.UNSUBSCRIBE, ops.Nothing(), op, size)

    def acknowledge(self, acks: Acknowledging, mailbox: Mailbox, op: wanted.Ack, size: int) -> None:
        """Acknowledge up to an id, or leased messages."""
        receipt, receipts, cursor = op.receipt, op.receipts, op.id
        if receipt is not None and receipts is None and cursor is None:
            acks.receipts(mailbox, (receipt_text_of(receipt),), (op.ref, size, 0))
        elif receipts is not None and receipt is None and cursor is None:
            acks.receipts(mailbox, receipt_texts_of(receipts), (op.ref, size, len(receipts)))
        elif cursor is not None and receipt is None and receipts is None:
            acks.cursor(mailbox, cursor_of("id", cursor), (op.ref, size, 0))
        else:
            raise FanmailError("bad-op", "an ack has one of id, receipt and receipts")

    def change_lease(self, mailbox: Mailbox, op: wanted.Nack | wanted.Extend, size: int) -> None:
        """Give a leased message back, or extend its lease."""
        receipt = receipt_of(op.receipt)
        if isinstance(op, wanted.Nack):
            args = ops.Extend(receipt, 0, delay_of(op.delay))
        else:
            args = ops.Extend(receipt, lease_of(op.lease))
        self._start(mailbox, Op.EXTEND, args, op, size, args)

    def _start(
        self, mailbox: Mailbox, kind: Op, args: Struct, op: wanted.OnMailbox, size: int, about: Any = None
    ) -> None:
        silent = kind is Op.EXTEND and op.ref is None
        pending = Pending(self, kind, op.ref, size, (mailbox, about, silent))
        self._owner.gateway.start(kind, *mailbox.names, args, pending, self._owner.request_id)
        self._owner.began(size)

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""
        owner, ref = self._owner, pending.ref
        mailbox, about, silent = pending.about
        try:
            result = owner.gateway.result_of(pending.op, answer)
        except FanmailError as error:
            if error.code == "lease-lost":
                self._readings.confirmed(mailbox, [about.receipt])
            if not silent:
                owner.send(answers.failed(ref, {} if ref is not None else mailbox.members(), error))
            if error.code == "no-subscription":
                self._readings.not_confirmed(mailbox, error)
        else:
            if about is not None and about.lease:
                self._readings.extended(mailbox, about.receipt, time.monotonic() + about.lease / 1e6)
            elif about is not None:
                self._readings.confirmed(mailbox, [about.receipt])
            if pending.op is Op.UNSUBSCRIBE:
                self._readings.not_confirmed(mailbox, FanmailError("no-subscription"))
            if ref is not None:
                created = {"created": result.created} if pending.op is Op.SUBSCRIBE else None
                owner.send(answers.ok(ref, created))
        owner.done(pending.size)

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self._owner.failed(error)
