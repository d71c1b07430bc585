"""What candidates tell each other about space, and how much of the log may be forgotten. No log, no clock."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec
from msgspec import Struct


class SpaceThresholds(NamedTuple):
    """Shares are percent of the maximum size of the log; seconds are of the caller's clock."""

    keep_s: float = 900.0
    """How long entries stay while there is plenty of space."""
    prompt: int = 30
    """From this share on they are forgotten as soon as all candidates have them."""
    left_out: int = 50
    """From this share on a candidate that is away is not waited for."""
    refused: int = 80
    """From this share on nothing is published."""
    away_s: float = 15.0
    """A candidate that has not reported for this long is away."""
    sampled_s: float = 15.0
    """Between two positions that are remembered with their time."""


DEFAULT = SpaceThresholds()


class Report(Struct, array_like=True):
    """What a candidate tells the others every few seconds."""

    candidate: str
    process: bytes
    """Differs for each process: only within one do positions grow."""
    position: int
    """Of the last entry that it has seen."""
    stored: int
    """Position that its store has on disk."""
    room: int
    """Bytes that may be written to its disk."""


class _Heard(NamedTuple):
    report: Report
    at: float


class Space:
    """The view of one candidate."""

    def __init__(self, others: tuple[str, ...], now: float, thresholds: SpaceThresholds = DEFAULT) -> None:
        """`others` are the names of the other candidates of this broker."""
        self._thresholds = thresholds
        self._others: dict[str, _Heard | None] = dict.fromkeys(others)
        self._since = now
        self._samples: deque[tuple[float, int]] = deque()
        """Positions that the log had at some times, the oldest first; only the first may be older than `keep_s`."""
        self.known_position = 0
        """The greatest position that another candidate has ever reported: the log had it."""
        self.used = 0
        """Percent of the maximum size of the log."""

    @property
    def refuses(self) -> bool:
        """Return whether the log has too little room for more content."""
        return self.used >= self._thresholds.refused

    def hear(self, data: bytes, now: float) -> None:
        """Take a report of another candidate; what is none, or of no candidate of this broker, is ignored."""
        try:
            report = msgspec.msgpack.decode(data, type=Report)
        except msgspec.MsgspecError:
            return
        if report.candidate not in self._others:
            return
        before = self._others[report.candidate]
        if before is not None and before.report.process == report.process:
            report.stored = max(report.stored, before.report.stored)
        elif before is not None and report.stored <= before.report.stored:
            now = before.at  # one that dies at each start is as good as away
        self._others[report.candidate] = _Heard(report, now)
        self.known_position = max(self.known_position, report.position)

    def reports(self, now: float) -> list[Report]:
        """Return the last reports of the candidates that are not away."""
        return [heard.report for heard in self._others.values() if heard is not None and not self._is_away(heard, now)]

    def room(self, mine: int, now: float) -> int:
        """Return how many bytes may be written on every disk that counts."""
        return min([mine, *(each.room for each in self.reports(now))])

    def one_copy(self, now: float) -> bool:
        """Return whether nobody follows."""
        return all(self._is_away(heard, now) for heard in self._others.values())

    def successor(self, now: float) -> str:
        """Return the candidate that has read most and is not away; "" without one."""
        best = max(self.reports(now), key=lambda each: each.position, default=None)
        return best.candidate if best is not None else ""

    def sample(self, position: int, now: float) -> None:
        """Note how far the log goes; forgets what is older than needed. Called several times per second, or less."""
        if self._samples and now < self._samples[-1][0] + self._thresholds.sampled_s:
            return
        self._samples.append((now, position))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._thresholds.keep_s:
            self._samples.popleft()

    def slept(self, seconds: float) -> None:
        """Note that this process did not run for a while, in which it could not hear the others."""
        self._since += seconds
        for name, heard in self._others.items():
            self._others[name] = heard and heard._replace(at=heard.at + seconds)

    def floor(self, stored: int, now: float, *, prompt: bool = False) -> int:
        """Return the position below which entries may be forgotten, where this candidate has `stored` on disk.

        `prompt`: also those that are not old.
        """
        limits = self._thresholds
        waited_for = [stored]
        for heard in self._others.values():
            if not (self.used >= limits.left_out and self._is_away(heard, now)):
                waited_for.append(heard.report.stored if heard is not None else 0)
        old = 0
        if self._samples and self._samples[0][0] <= now - limits.keep_s:
            old = self._samples[0][1]
        return min(waited_for) if prompt or self.used >= limits.prompt else min(*waited_for, old)

    def _is_away(self, heard: _Heard | None, now: float) -> bool:
        return now > (self._since if heard is None else heard.at) + self._thresholds.away_s
