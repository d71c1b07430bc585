"""What a candidate does beside following and appending: it reports, looks at the log's settings, and purges."""

from __future__ import annotations

import logging
from collections import Counter

import msgspec

from broker.errors import ReplicaError
from broker.replica import log as on
from broker.replica.limits import ReplicaLimits
from broker.replica.log import Event, Log, StreamInfo
from broker.replica.space import Report, Space
from common.protocol import log_stats

log = logging.getLogger("fanmail.broker")


class Duties:
    """Of one candidate. Times are seconds of the candidate's clock."""

    def __init__(self, stream: Log, space: Space, limits: ReplicaLimits, now: float) -> None:
        self._log = stream
        self._limits = limits
        self.space = space
        self.counters: Counter[str] = Counter()
        """Those of the broker; set by the caller."""
        self.info: StreamInfo | None = None
        """What was last known of the log."""
        self.connected = True
        self._appended = 0
        """Bytes since then."""
        self._inspect_at = self._report_at = self._ran_at = now
        self._purge_at, self._urgent_at = now + limits.purge_s, now
        self.one_copy = False
        """Only this candidate has everything, as far as it knows."""

    def appended(self, size: int) -> None:
        """Count what was appended, until the size of the log is known again."""
        self._appended += size
        self._measure()

    def take(self, notices: list[Event], now: float) -> None:
        """Take what a candidate does not need itself, and empty the list. Raises `ReplicaError`."""
        for event in notices:
            if isinstance(event, on.Reported):
                self.space.hear(event.data, now)
            elif isinstance(event, on.Inspected):
                self._inspected(event.info)
            elif isinstance(event, on.Refused):
                self.counters[log_stats.REFUSED] += 1
            elif isinstance(event, on.Unknown):
                self.counters[log_stats.UNKNOWN] += 1
            elif isinstance(event, on.Down):
                self.connected = False
                log.warning("no connection to the log", extra={"reason": event.reason})
            elif isinstance(event, on.Up) and not self.connected:
                self.connected = True
                log.info("connected to the log again")
        notices.clear()

    def do_due(self, report: Report, now: float) -> None:
        """Report, and look at the log, where it is time."""
        if now > self._ran_at + self._limits.report_s:
            self.space.slept(now - self._ran_at)
        self._ran_at = now
        self.space.sample(report.position, now)
        if now >= self._report_at:
            self._report_at = now + self._limits.report_s
            self._log.report(msgspec.msgpack.encode(report))
        if now >= self._inspect_at:
            self._inspect_at = now + (self._limits.inspect_s if self.info is not None else 1.0)
            self._log.inspect()

    def purge(self, stored: int, now: float, *, at_once: bool = False) -> None:
        """Forget what no candidate needs, where it is time; `at_once`: the log has no room."""
        if now < (self._urgent_at if at_once else self._purge_at):
            return
        self._purge_at, self._urgent_at = now + self._limits.purge_s, now + self._limits.urgent_s
        if at_once:
            self._inspect_at = now
        floor = self.space.floor(stored, now, prompt=at_once)
        if floor > (self.info.first if self.info is not None else 1):
            self._log.purge(floor)

    def watch_copies(self, now: float) -> None:
        """Look whether another candidate follows, and say when that changes."""
        one_copy = self.space.one_copy(now)
        if one_copy != self.one_copy:
            self.one_copy = one_copy
            if one_copy:
                log.error("no standby follows: only this candidate's store has everything")
            else:
                log.info("a standby follows")

    def _inspected(self, info: StreamInfo) -> None:
        before = self.info.problems if self.info is not None else ()
        self.info, self._appended = info, 0
        self._measure()
        if info.problems and info.problems != before:
            log.error("the log must not be used with its settings", extra={"problems": list(info.problems)})

    def check_settings(self) -> None:
        """Raise `ReplicaError` where the log must not be used: an owner does not stay one."""
        if self.info is not None and self.info.problems:
            raise ReplicaError(f"the log must not be used with its settings: {'; '.join(self.info.problems)}")

    def _measure(self) -> None:
        if self.info is not None and self.info.max_bytes > 0:
            self.space.used = 100 * (self.info.bytes + self._appended) // self.info.max_bytes
