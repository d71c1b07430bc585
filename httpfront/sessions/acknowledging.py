"""The acknowledgements of a session. Those that arrive together for one mailbox are sent to its broker as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.formats.receipts import receipt_text, split_receipts
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.operations import MAX_RECEIPTS
from httpfront.sessions.pending import Pending
from httpfront.sessions.ports import Owner
from httpfront.sessions.readings import Readings

TURNS = 3
"""Turns of the loop for which acknowledgements wait for others that have arrived already."""
Entry = tuple[Any, int, int]
"""The `ref` of an acknowledgement, the bytes of its message, and the length of its list of receipts; 0: no list."""
Receipts = tuple[list[str], list[Entry]]
"""The receipts, as text, of some acknowledgements in order, one for each that has no list."""


class Acknowledging:
    """What one session acknowledges. Its reads are told what is done, and what could not be."""

    __slots__ = ("_cursors", "_owner", "_readings", "_receipts", "_turns")

    def __init__(self, owner: Owner, readings: Readings) -> None:
        self._owner = owner
        self._readings = readings
        self._receipts: dict[Mailbox, Receipts] = {}
        self._cursors: dict[Mailbox, tuple[tuple[str, int], list[Entry]]] = {}
        """The latest cursor of each mailbox, and what asked for it and for those before."""
        self._turns = 0
        """Turns in which something was put off."""

    def receipts(self, mailbox: Mailbox, texts: Sequence[str], entry: Entry) -> None:
        """Acknowledge the leased messages of well-formed receipts, at most `MAX_RECEIPTS`, with others."""
        if self._cursors and mailbox in self._cursors:
            self._confirm(mailbox)
        found = self._receipts.get(mailbox)
        if found is not None and len(found[0]) + len(texts) > MAX_RECEIPTS:
            self._finish(mailbox)  # a broker does nothing else meanwhile, so one request has no more
            found = None
        if found is None:
            self._receipts[mailbox] = [*texts], [entry]
        else:
            found[0].extend(texts)
            found[1].append(entry)
        self._owner.began(entry[1])

    def cursor(self, mailbox: Mailbox, cursor: tuple[str, int], entry: Entry) -> None:
        """Acknowledge everything up to a cursor, with others."""
        if mailbox in self._receipts:
            self._finish(mailbox)
        found = self._cursors.get(mailbox)
        if found is not None and (found[0][0] != cursor[0] or found[0][1] > cursor[1]):
            self._confirm(mailbox)
            found = None
        entries = found[1] if found is not None else []
        entries.append(entry)
        self._cursors[mailbox] = cursor, entries
        self._owner.began(entry[1])

    def turn_over(self, more: bool) -> None:
        """Send what was put off, unless the next turn brings `more` and has few turns before it."""
        if more and self._turns < TURNS and (self._receipts or self._cursors):
            self._turns += 1
        else:
            self.flush()

    def flush(self) -> None:
        """Send what was put off."""
        self._turns = 0
        for mailbox in [*self._cursors]:
            self._confirm(mailbox)
        for mailbox in [*self._receipts]:
            self._finish(mailbox)

    def _finish(self, mailbox: Mailbox) -> None:
        texts, entries = self._receipts.pop(mailbox)
        receipts = split_receipts(texts)
        self._start(mailbox, Op.FINISH, ops.Finish(receipts), (receipts, entries))

    def _confirm(self, mailbox: Mailbox) -> None:
        waiting = self._cursors.pop(mailbox)
        self._start(mailbox, Op.CONFIRM, ops.Confirm(*waiting[0]), waiting)

    def _start(self, mailbox: Mailbox, op: Op, args: ops.Finish | ops.Confirm, waiting: Any) -> None:
        pending = Pending(self, op, None, 0, (mailbox, *waiting))
        try:
            self._owner.gateway.start(op, *mailbox.names, args, pending, self._owner.request_id)
        except FanmailError as error:
            self._refused(pending, error)

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""
        mailbox, done, entries = pending.about
        try:
            result = self._owner.gateway.result_of(pending.op, answer)
            if pending.op is Op.FINISH and len(result.codes) != len(done):
                raise FanmailError("internal", f"{len(result.codes)} results for {len(done)} receipts")
        except FanmailError as error:
            self._refused(pending, error)
            return
        self._readings.confirmed(mailbox, done)
        if pending.op is Op.FINISH and any(result.codes):
            self._settle(entries, _partly_done(mailbox, done, entries, result.codes))
        else:
            self._settle(entries, [answers.ok(ref) for ref, _, _ in entries if ref is not None])

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self._owner.failed(error)

    def _refused(self, pending: Pending, error: FanmailError) -> None:
        mailbox, what, entries = pending.about
        about = mailbox.members()
        self._settle(entries, [answers.failed(ref, about, error) for ref, _, _ in entries if ref is not None])
        if error.spec.status in (404, 410):
            self._readings.not_confirmed(mailbox, error)
        elif error.spec.status in (503, 504) and pending.op is Op.CONFIRM and any(each[0] is None for each in entries):
            self._readings.not_confirmed(mailbox, error, what)  # nobody else would repeat it

    def _settle(self, entries: list[Entry], texts: list[bytes]) -> None:
        """Send the answers to these acknowledgements, which are not under way any more."""
        if texts:
            self._owner.send_all(texts)
        self._owner.done(sum(entry[1] for entry in entries), len(entries))


def _partly_done(mailbox: Mailbox, receipts: list[Receipt], entries: list[Entry], codes: list[str]) -> list[bytes]:
    """Return the answers to acknowledgements; each code says why a receipt had no effect, "": it had."""
    texts, at = [], 0
    for ref, _, listed in entries:
        end = at + (listed or 1)
        if ref is not None and listed:
            parts = zip(receipts[at:end], codes[at:end], strict=True)
            lost = [receipt_text(each.epoch, each.seq, each.attempt) for each, code in parts if code]
            texts.append(answers.ok(ref, {"lost": lost} if lost else None))
        elif ref is not None and codes[at]:
            error = FanmailError(codes[at], "the message was not acknowledged")
            texts.append(answers.failed(ref, mailbox.members(), error))
        elif ref is not None:
            texts.append(answers.ok(ref))
        at = end
    return texts
