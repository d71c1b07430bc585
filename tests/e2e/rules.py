"""What may be delivered again, and in which order, per mode of reading. A rule sees the reads of one user in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Protocol

from tests.e2e.history import Ack, Mode, Outcome, Take


class Rule(Protocol):
    """The promise of one mode for one user."""

    may_be_lost: int
    """The number of messages that the reads so far may have lost."""

    def judge(self, take: Take) -> list[str]:
        """Return what is wrong with this read, after the previous ones."""
        ...

    def at_the_end(self, excused: Collection[str]) -> list[str]:
        """Return what is wrong when nothing more comes. Messages with these ids need not be delivered again."""
        ...


def _seq(msg_id: str) -> int:
    return int(msg_id.rpartition("-")[2])


def _got(take: Take) -> bool:
    return take.outcome is Outcome.OK and take.body is not None


class PlainRule:
    """At most once, in order. A read whose outcome is unknown may have lost the messages that it asked for."""

    def __init__(self, who: str, acks: list[Ack]) -> None:
        self._who = who
        self._last = 0
        self._bodies: set[bytes] = set()
        self.may_be_lost = 0

    def judge(self, take: Take) -> list[str]:
        if take.outcome is Outcome.UNKNOWN:
            self.may_be_lost += take.most
        if not _got(take):
            return []
        assert take.body is not None
        seq, found = _seq(take.msg_id), []
        if take.body in self._bodies:
            found.append(f"{self._who} got {take.body!r} twice")
        if seq <= self._last:
            found.append(f"{self._who} got {take.body!r} ({seq}) after {self._last}: not in the order of the log")
        self._bodies.add(take.body)
        self._last = seq
        return found

    def at_the_end(self, excused: Collection[str]) -> list[str]:
        return []


class AfterRule:
    """At least once, in order; only what was not acknowledged is delivered again."""

    may_be_lost = 0

    def __init__(self, who: str, acks: list[Ack]) -> None:
        self._who = who
        self._last = self._before = 0
        self._confirmed = 0
        """Acknowledged by a request that got a response."""
        self._read = (0.0, "")

    def judge(self, take: Take) -> list[str]:
        cursor = _seq(take.cursor) if "-" in take.cursor else 0
        found = [] if take.gap is None else self._missed(take.gap)
        if _got(take):
            if (take.invoked, take.cursor) != self._read:
                self._read, self._before = (take.invoked, take.cursor), 0
            seq = _seq(take.msg_id)
            if seq <= max(cursor, self._confirmed):
                found.append(f"{self._who} got {take.body!r} ({seq}) again, which was confirmed")
            if seq <= self._before:
                found.append(f"{self._who} got {take.body!r} ({seq}) after {self._before} in one answer")
            if seq > self._last + 1 and self._last:
                found.append(f"{self._who} got {take.body!r} ({seq}) after {self._last}: something was passed over")
            self._before, self._last = seq, max(self._last, seq)
        if take.outcome is Outcome.OK:
            self._confirmed = max(self._confirmed, cursor)
        return found

    def at_the_end(self, excused: Collection[str]) -> list[str]:
        return []

    def _missed(self, gap: range) -> list[str]:
        return [f"{self._who} was told of a gap of {len(gap)}, and confirms by itself"]


class TimedRule(AfterRule):
    """As `AfterRule`, except that a gap which is announced may lose what was not delivered before."""

    def __init__(self, who: str, acks: list[Ack]) -> None:
        super().__init__(who, acks)
        self._seen: set[int] = set()
        self._missing: set[int] = set()

    def judge(self, take: Take) -> list[str]:
        found = super().judge(take)
        if _got(take):
            seq = _seq(take.msg_id)
            if seq in self._missing:
                found.append(f"{self._who} got {take.body!r} ({seq}), which was announced as missed")
            self._seen.add(seq)
        return found

    def _missed(self, gap: range) -> list[str]:
        found = []
        if not gap or gap.start > self._last + 1:
            found.append(f"{self._who} was told of a gap of {gap} after {self._last}")
        self._missing.update(set(gap) - self._seen)
        self.may_be_lost = len(self._missing)
        self._last = max(self._last, gap.stop - 1)
        return found


class LeaseRule:
    """At least once.

    First deliveries are in order. Others have an attempt over 1, each greater than the last, and are not of
    acknowledged messages. What is not acknowledged is delivered again: at the end everything is.
    """

    may_be_lost = 0

    def __init__(self, who: str, acks: list[Ack]) -> None:
        self._who = who
        self._last = 0
        self._attempts: dict[str, int] = defaultdict(int)
        self._last_got: dict[str, float] = {}
        self._done_at: dict[str, float] = {}
        self._tried_at: dict[str, float] = {}
        """When the last acknowledgement was sent that may have been executed."""
        for ack in acks:
            for each in ack.confirmed:
                self._done_at[each] = min(ack.done, self._done_at.get(each, ack.done))
            if ack.outcome is not Outcome.FAILED:
                for each in ack.tried:
                    self._tried_at[each] = max(ack.invoked, self._tried_at.get(each, 0.0))

    def judge(self, take: Take) -> list[str]:
        if not _got(take):
            return []
        seq, found = _seq(take.msg_id), []
        if take.attempt == 1:
            if seq <= self._last:
                found.append(f"{self._who} got {take.body!r} ({seq}) first after {self._last}: not in the log's order")
            self._last = max(self._last, seq)
        if take.attempt <= self._attempts[take.msg_id]:
            found.append(
                f"{self._who} got {take.body!r} again as attempt {take.attempt}, after {self._attempts[take.msg_id]}"
            )
        if self._done_at.get(take.msg_id, take.invoked) < take.invoked:
            found.append(f"{self._who} got {take.body!r} again after it was acknowledged")
        self._attempts[take.msg_id] = max(take.attempt, self._attempts[take.msg_id])
        self._last_got[take.msg_id] = take.invoked
        return found

    def at_the_end(self, excused: Collection[str]) -> list[str]:
        left = {each: at for each, at in self._last_got.items() if each not in excused}
        gone = [each for each, at in left.items() if self._tried_at.get(each, 0.0) < at]
        if not gone:
            return []
        return [f"{self._who} did not get {len(gone)} unacknowledged messages again: {gone[:5]}"]


RULES: dict[Mode, type[PlainRule | AfterRule | LeaseRule]] = {
    Mode.PLAIN: PlainRule,
    Mode.AFTER: AfterRule,
    Mode.TIMED: TimedRule,
    Mode.LEASE: LeaseRule,
}
