"""The reads of one session, and the leases that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from common.errors import FanmailError
from common.protocol.ops import Receipt
from httpfront.formats.params import refused
from httpfront.sessions import answers
from httpfront.sessions import operations as wanted
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.delivery import ReadRequest
from httpfront.sessions.operations import AFTER, DEFAULT_LEASE_S, LEASE, MAX_WINDOW, MODES, WINDOW
from httpfront.sessions.ports import Owner
from httpfront.sessions.reading import Reading
from httpfront.sessions.refusals import refused as refused_operation
from httpfront.sessions.values import cursor_of, lease_of
from httpfront.sessions.window import CursorWindow, LeaseWindow, Window


class Readings:
    """By mailbox; the first has the place of the session, every other one a place of its own."""

    __slots__ = ("_leases", "_owner", "_places", "_reads")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reads: dict[Mailbox, Reading] = {}
        self._leases: dict[Mailbox, LeaseWindow] = {}
        """Leases that are out, also of reads that were stopped."""
        self._places = 0
        """Places beside that of the session."""

    def mailboxes(self) -> Iterable[Mailbox]:
        """Return what is read now."""
        return list(self._reads)

    def read(self, mailbox: Mailbox, op: wanted.Read) -> None:
        """Begin a read. Raises `already-reading`, `too-many-reads`, `front-busy` and `bad-parameter`."""
        request = read_request(mailbox, op)
        former = self._reads.get(mailbox)
        if former is not None and former.stopped:
            self._later(former, partial(self._read_later, mailbox, op))
            return
        self._check_room(mailbox)
        if self._reads:
            self._owner.table.take_place()
            self._places += 1
        window: Window
        if request.mode == LEASE:
            window = self._leases.setdefault(mailbox, LeaseWindow(request.window))
            window.set_most(request.window)
        else:
            window = CursorWindow(request.window)
        reading = Reading(self._owner, request, window, self._over)
        self._reads[mailbox] = reading
        reading.open()

    def _check_room(self, mailbox: Mailbox) -> None:
        if mailbox in self._reads:
            raise FanmailError("already-reading", "this session reads the mailbox already")
        idle = [each for each, window in self._leases.items() if each not in self._reads and not len(window)]
        for each in idle:
            del self._leases[each]
        most = self._owner.limits.readings
        if len(self._reads.keys() | self._leases.keys()) >= most and mailbox not in self._leases:
            raise FanmailError("too-many-reads", f"a session reads at most {most} mailboxes")

    def stop(self, mailbox: Mailbox, op: wanted.Stop) -> None:
        """End a read where there is one."""
        answer = partial(self._owner.send, answers.ok(op.ref)) if op.ref is not None else _nothing
        reading = self._reads.get(mailbox)
        if reading is None:
            answer()
        elif reading.stopped:
            self._later(reading, partial(self.stop, mailbox, op))
        else:
            reading.stop(answer)

    def _later(self, stopping: Reading, work: Callable[[], None]) -> None:
        """Execute an operation once the read before it has stopped; until then it is under way."""

        def execute() -> None:
            self._owner.done(0)
            work()

        self._owner.began(0)
        stopping.stopped.append(execute)

    def _read_later(self, mailbox: Mailbox, op: wanted.Read) -> None:
        try:
            self.read(mailbox, op)
        except FanmailError as error:
            answer = refused_operation(op, error)
            if answer is not None:
                self._owner.send(answer)

    def confirmed(self, mailbox: Mailbox, done: list[Receipt] | tuple[str, int]) -> None:
        """Make room in the window for what is done."""
        leases = self._leases.get(mailbox)
        if isinstance(done, list) and leases is not None:
            leases.remove(done)
        reading = self._reads.get(mailbox)
        if reading is None:
            return
        if isinstance(reading.window, CursorWindow) and not isinstance(done, list):
            reading.window.confirm(done[1])
        reading.proceed()

    def not_confirmed(self, mailbox: Mailbox, error: FanmailError, cursor: tuple[str, int] | None = None) -> None:
        """Look whether what is read is still there; a `cursor` is confirmed again where the mailbox is read with it."""
        reading = self._reads.get(mailbox)
        if reading is not None:
            reading.look_again(error, cursor if isinstance(reading.window, CursorWindow) else None)

    def extended(self, mailbox: Mailbox, receipt: Receipt, until: float) -> None:
        """Note the new end of a lease, monotonic seconds."""
        leases = self._leases.get(mailbox)
        if leases is not None:
            leases.extend(receipt, until)

    def timed(self, now: float) -> None:
        """Let every read do what is due."""
        for reading in list(self._reads.values()):
            reading.timed(now)

    def close(self) -> None:
        """End all reads, and give back what is leased."""
        for reading in self._reads.values():
            reading.close()
        self._reads.clear()
        for mailbox, leases in self._leases.items():
            self._owner.return_leases(mailbox, leases.take_all())
        self._leases.clear()
        for _ in range(self._places):
            self._owner.table.free_place()
        self._places = 0

    def _over(self, reading: Reading) -> None:
        del self._reads[reading.mailbox]
        if self._places:
            self._places -= 1
            self._owner.table.free_place()


def read_request(mailbox: Mailbox, op: wanted.Read) -> ReadRequest:
    """Return what a `read` asks for. Raises `bad-parameter`."""
    mode = AFTER if op.mode is None else op.mode
    if mode not in MODES:
        raise refused("mode", f"must be {', '.join(MODES[:-1])} or {MODES[-1]}")
    window = WINDOW if op.window is None else op.window
    if not 1 <= window <= MAX_WINDOW:
        raise refused("window", f"must be a whole number from 1 to {MAX_WINDOW}")
    if op.after is not None and mode != AFTER:
        raise refused("after", f"is allowed with mode {AFTER} only")
    if op.lease is not None and mode != LEASE:
        raise refused("lease", f"is allowed with mode {LEASE} only")
    lease = lease_of(DEFAULT_LEASE_S if op.lease is None else op.lease) if mode == LEASE else 0
    after = None if op.after is None else cursor_of("after", op.after)
    return ReadRequest(mailbox, mode, window, lease, after, op.ref)


def _nothing() -> None:
    """Answer nothing: the client has no `ref`."""
