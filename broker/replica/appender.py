"""Gets one entry at a time into the log, whatever the log answers.

The same bytes are sent until the entry was read, or acknowledged, where it counts: the answer to an append may be lost,
and the entry may land after that. A double cannot harm: compare-and-append refuses it, or readers skip its number.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.errors import BrokenInvariantError, DeposedError, ReplicaError
from broker.replica import log as on
from broker.replica.entry import Kind
from broker.replica.log import Log
from broker.replica.reader import LogReader
from broker.replica.thresholds import ReplicaThresholds
from broker.replica.watch import Watch

Result = on.Appended | on.Refused | on.Full | on.Unknown


@dataclass(slots=True)
class _UnderWay:
    """An own entry whose place in the log is not known for sure yet."""

    kind: Kind
    data: bytes
    began: float
    sent: bool = True
    """The log has not answered the present append."""
    seen: bool = False
    """It was taken by the reader, and counts."""
    upto: int = 0
    """After a refusal: the position up to which the log is to be read before it is sent again; 0: to its end."""
    retry_at: float | None = None
    """When it is sent again; None while it is sent, or while the log is read."""


class Appender:
    """Of one candidate. Times are seconds of the candidate's clock."""

    def __init__(self, log: Log, reader: LogReader, watch: Watch, thresholds: ReplicaThresholds) -> None:
        self._log = log
        self._reader = reader
        self._watch = watch
        self._thresholds = thresholds
        self._under_way: _UnderWay | None = None
        self._behind_since: float | None = None
        """Since when the log has said that it has less than it had."""
        self.full = False
        """The log had no room for the last append."""

    @property
    def kind(self) -> Kind | None:
        """Return the kind of the entry that is under way; None without one."""
        return None if self._under_way is None else self._under_way.kind

    @property
    def retry_at(self) -> float | None:
        """Return when the entry is sent again; None where it is not known yet."""
        return None if self._under_way is None else self._under_way.retry_at

    def under_way_s(self, now: float) -> float:
        """Return for how long the entry has been under way, 0 without one."""
        return 0.0 if self._under_way is None else now - self._under_way.began

    def send(self, kind: Kind, data: bytes, now: float) -> None:
        """Append an entry behind the last one that was read."""
        if self._under_way is not None:
            raise BrokenInvariantError("an append behind one that is under way")
        self._under_way = _UnderWay(kind, data, now)
        self._log.append(data, self._reader.at.position)

    def give_up(self) -> None:
        """Forget the entry: it may land, but is not sent again."""
        self._under_way = None

    def saw(self, data: bytes) -> bool:
        """Take note of an entry that counts; return whether it is the one under way."""
        if self._under_way is None or data != self._under_way.data:
            return False
        self._under_way.seen = True
        return True

    def answered(self, event: Result, now: float) -> bool:
        """Take the log's answer. Return whether the entry counts; if not, `repair` goes on with it."""
        under_way = self._under_way
        if under_way is None or not under_way.sent:
            raise BrokenInvariantError("the log has answered an append that is not under way")
        under_way.sent = False
        self.full = isinstance(event, on.Full)
        if isinstance(event, on.Appended) and not under_way.seen:
            self._confirm(event.position, under_way, now)
        if under_way.seen:
            self._under_way = self._behind_since = None
            return True
        under_way.retry_at = now + self._thresholds.retry_s
        if isinstance(event, on.Refused) and not self.is_behind(event.last, now):
            under_way.upto = event.last
            if not 0 < event.last <= self._reader.at.position:  # else a straggler of our own is about to land
                under_way.retry_at = None
        return False

    def check_release(self, event: Result, now: float) -> None:
        """Take the answer to a RELEASE that does not count; it is sent again where it had no room: the caller purges.

        Raises `DeposedError` where the owner must end instead.
        """
        if not isinstance(event, on.Full):
            raise DeposedError("unsure whether the log is released")
        if self.under_way_s(now) >= self._thresholds.release_s:
            raise DeposedError("the log has no room for its release: another candidate takes over after the silence")

    def nothing_there(self, now: float) -> None:
        """Note that a read has found the end of the log."""
        if self._under_way is not None and not self._under_way.sent and self._under_way.retry_at is None:
            self._under_way.retry_at = now + self._thresholds.retry_s

    def repair(self, now: float) -> bool:
        """Read the log as far as it is known to go; where the entry is not there, send the same bytes again.

        Return whether the entry was found and counts. Called when all that was read is taken.
        """
        under_way = self._under_way
        if under_way is None or under_way.sent:
            return False
        if under_way.seen:
            self._under_way = self._behind_since = None
            return True
        position = self._reader.at.position
        if under_way.retry_at is None and not 0 < under_way.upto <= position:
            if not self._watch.awaits(now):
                self._watch.asked(now)
                self._log.read(position + 1)
        elif under_way.retry_at is None or now >= under_way.retry_at:
            under_way.sent, under_way.retry_at, under_way.upto = True, None, 0
            self._log.append(under_way.data, position)
        return False

    def is_behind(self, last: int, now: float) -> bool:
        """Return whether the log says that it has less than it had, which a server that is cut off does.

        Raises `ReplicaError` where it goes on saying so.
        """
        at = self._reader.at.position
        if last == 0 or last >= at:
            self._behind_since = None
            return False
        if self._behind_since is None:
            self._behind_since = now
        if now >= self._behind_since + self._thresholds.behind_s:
            raise ReplicaError(f"the log ends at {last}, and this candidate has read it up to {at}: it went back")
        return True

    def _confirm(self, position: int, under_way: _UnderWay, now: float) -> None:
        """Count the own entry that was appended at this position."""
        if position == self._reader.at.position + 1:
            under_way.seen = self._reader.take(position, under_way.data) is not None
            self._watch.heard(now)
        if not under_way.seen:
            raise ReplicaError(f"the log has appended an entry at {position} that does not count there")
