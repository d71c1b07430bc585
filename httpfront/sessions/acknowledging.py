"""The acknowledgements of a session. Those that arrive together for one mailbox are sent to its broker as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.pending import Pending
from httpfront.sessions.ports import Owner

Entry = tuple[Any, int]
"""The `ref` of an acknowledgement, and the bytes of its message."""


class Acknowledging:
    """What one session acknowledges. `done` is called with a mailbox and the cursor, or the receipts, that are done."""

    __slots__ = ("_cursors", "_done", "_owner", "_receipts")

    def __init__(self, owner: Owner, done: Callable[[Mailbox, list[Receipt] | tuple[str, int]], None]) -> None:
        self._owner = owner
        self._done = done
        self._receipts: dict[Mailbox, list[tuple[Receipt, Entry]]] = {}
        self._cursors: dict[Mailbox, tuple[tuple[str, int], list[Entry]]] = {}
        """The latest cursor of each mailbox, and what asked for it and for those before."""

    def receipt(self, mailbox: Mailbox, receipt: Receipt, entry: Entry) -> None:
        """Acknowledge a leased message, with the others of this turn."""
        if mailbox in self._cursors:
            self._confirm(mailbox)
        self._receipts.setdefault(mailbox, []).append((receipt, entry))
        self._owner.began(entry[1])

    def cursor(self, mailbox: Mailbox, cursor: tuple[str, int], entry: Entry) -> None:
        """Acknowledge everything up to a cursor, with the others of this turn."""
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

    def flush(self) -> None:
        """Send what this turn has brought."""
        for mailbox in [*self._cursors]:
            self._confirm(mailbox)
        for mailbox in [*self._receipts]:
            self._finish(mailbox)

    def _finish(self, mailbox: Mailbox) -> None:
        waiting = self._receipts.pop(mailbox)
        self._start(mailbox, Op.FINISH, ops.Finish([each for each, _ in waiting]), waiting)

    def _confirm(self, mailbox: Mailbox) -> None:
        cursor, entries = self._cursors.pop(mailbox)
        self._start(mailbox, Op.CONFIRM, ops.Confirm(*cursor), (cursor, entries))

    def _start(self, mailbox: Mailbox, op: Op, args: ops.Finish | ops.Confirm, what: Any) -> None:
        pending = Pending(self, op, None, 0, (mailbox, what))
        try:
            self._owner.gateway.start(op, *mailbox.names, args, pending, self._owner.request_id)
        except FanmailError as error:
            self._refused(pending, error)

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""
        mailbox, what = pending.about
        try:
            result = self._owner.gateway.result_of(pending.op, answer)
            if pending.op is Op.FINISH and len(result.codes) != len(what):
                raise FanmailError("internal", f"{len(result.codes)} results for {len(what)} receipts")
        except FanmailError as error:
            self._refused(pending, error)
            return
        if pending.op is Op.CONFIRM:
            cursor, entries = what
            self._done(mailbox, cursor)
            self._settle(mailbox, entries, [""] * len(entries))
            return
        self._done(mailbox, [receipt for receipt, _ in what])
        self._settle(mailbox, [entry for _, entry in what], result.codes)

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self._owner.failed(error)

    def _refused(self, pending: Pending, error: FanmailError) -> None:
        mailbox, what = pending.about
        entries = what[1] if pending.op is Op.CONFIRM else [each for _, each in what]
        for ref, _ in entries:
            if ref is not None:
                self._owner.send(answers.failed(ref, mailbox.members(), error))
        self._count(entries)

    def _settle(self, mailbox: Mailbox, entries: list[Entry], codes: list[str]) -> None:
        """Answer what was executed; each code says why it had no effect, "": it had."""
        for (ref, _), code in zip(entries, codes, strict=True):
            if ref is not None and code:
                error = FanmailError(code, "the message was not acknowledged")
                self._owner.send(answers.failed(ref, mailbox.members(), error))
            elif ref is not None:
                self._owner.send(answers.ok(ref))
        self._count(entries)

    def _count(self, entries: list[Entry]) -> None:
        self._owner.done(sum(size for _, size in entries), len(entries))
