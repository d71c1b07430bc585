"""Messages of one read on their way to the client. No clock but for leases."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.answers import Mailbox, MessageForm
from httpfront.sessions.operations import AFTER, LEASE
from httpfront.sessions.ports import Owner
from httpfront.sessions.window import CursorWindow, LeaseWindow, Window


class ReadRequest(NamedTuple):
    """What the client asked for."""

    mailbox: Mailbox
    mode: str
    window: int
    lease_us: int
    after: tuple[str, int] | None
    ref: Any


class Delivery:
    """What one read has sent."""

    __slots__ = ("_form", "_owner", "_request", "_window", "epoch", "place")

    def __init__(self, owner: Owner, request: ReadRequest, window: Window) -> None:
        self._owner = owner
        self._request = request
        self._window = window
        self._form = MessageForm(request.mailbox, leased=request.mode == LEASE)
        self.epoch, self.place = "", 0
        """With `after`: life of the topic, and sequence number of the next message; otherwise unset."""

    def opening(self) -> ops.OpenStream:
        """With `after`: return the arguments that open the read, or open it anew."""
        after = self._window.unconfirmed if self.epoch else self._request.after
        return ops.OpenStream() if after is None else ops.OpenStream(True, *after)

    def begin(self, opened: ops.StreamOpened) -> str:
        """With `after`: begin, or go on at a broker that may be another process; return the last id before.

        Raises `no-subscription`.
        """
        if not self.epoch:
            after = self._request.after
            self.epoch = opened.epoch
            self.place = min(after[1] + 1, opened.position) if after and after[0] else opened.position
        elif opened.epoch != self.epoch:
            raise FanmailError("no-subscription", "the topic that was read has ended")
        elif self._window.unconfirmed is not None and isinstance(self._window, CursorWindow):
            self._window.confirm(self._window.unconfirmed[1])
        return f"{self.epoch}-{self.place - 1}"

    def fetch(self, most: int, room: int) -> ops.Fetch:
        """Return the arguments that ask for at most `most` messages and `room` bytes."""
        if self._request.mode == AFTER:
            return ops.Fetch(False, self.epoch, 0, most, room, False, room=room, place=self.place)
        return ops.Fetch(False, "", 0, most, room, False, self._request.lease_us, room)

    def deliver(self, batch: ops.Batch | None) -> bool:
        """Send what was read; return whether there are more messages."""
        if batch is None:
            return False
        owner, window, ordered = self._owner, self._window, self._request.mode == AFTER
        if ordered and batch.position > self.place:
            owner.send(answers.gap(self._request.mailbox, batch.epoch, self.place, batch.position))
            self.place = batch.position
        seqs, sizes, texts = self._form.of_runs(batch.epoch, batch.runs)
        owner.send_all(texts)
        owner.table.messages += len(texts)
        if isinstance(window, LeaseWindow):
            attempts = [run.attempt for run in batch.runs for _ in range(run.count)]
            until = time.monotonic() + self._request.lease_us / 1e6
            window.add(batch.epoch, seqs, attempts, sizes, until)
        elif ordered and seqs:
            window.add(seqs, sizes)
            self.place = seqs[-1] + 1
        return batch.pending > 0

    def end(self, error: FanmailError) -> None:
        """Tell the client why the read has ended. Leases end with their subscription, and take no room of the next."""
        if error.code == "no-subscription" and isinstance(self._window, LeaseWindow):
            self._window.take_all()
        self._owner.send(answers.ended(self._request.mailbox, error))

    def undo(self, op: Op, answer: Answer) -> None:
        """Undo what a broker did for a read that has ended: others read this mailbox too."""
        owner, mailbox, mode = self._owner, self._request.mailbox, self._request.mode
        if mode == AFTER or answer.error is not None:
            return
        result = owner.gateway.result_of(op, answer)
        if op is Op.WAIT and result.now:
            owner.forward(mailbox, Op.SKIP, ops.Nothing())
        elif op is Op.FETCH and result is not None and mode == LEASE:
            seqs = [(seq, run) for run in result.runs for seq in range(run.first, run.first + run.count)]
            owner.return_leases(mailbox, [Receipt(result.epoch, seq, run.attempt) for seq, run in seqs])
