"""What a standby knows of the log's silence: when to read by itself, and when to take over.

All of it is about how soon something happens. Whether a take-over is right is decided by compare-and-append alone.
"""

from __future__ import annotations

from broker.replica.thresholds import ReplicaThresholds


class Watch:
    """Times in seconds of the caller's clock."""

    def __init__(self, now: float, thresholds: ReplicaThresholds) -> None:
        self._thresholds = thresholds
        self.heard_at = now
        """When the last new entry was seen, or an own append confirmed."""
        self._not_before = now
        """No take-over before this time."""
        self._asked_at: float | None = None
        """When the read was sent that is not answered."""
        self._next_read = 0.0
        self._away = False
        self.read_finds = False
        """Reads find entries that were not delivered."""

    @property
    def away(self) -> bool:
        """Return whether the log does not answer."""
        return self._away

    def heard(self, now: float) -> None:
        """Note that a new entry was seen, whether it counts or not."""
        self.heard_at = now
        self.read_finds |= self._asked_at is not None
        self.answered(now)

    def refused(self, now: float) -> None:
        """Note that somebody else has written, and that what it was is read now."""
        self.heard_at = now
        self.asked(now)

    def answered(self, now: float) -> None:
        """Note that the log has answered, whatever it was asked."""
        self._asked_at = None
        if self._away:
            self._away = False
            self._not_before = now + self._thresholds.grace_s

    def lost_sight(self) -> None:
        """Note that the log did not answer, or that the connection is lost."""
        self._away, self._asked_at, self._next_read = True, None, 0.0

    def reads(self, now: float, *, at_once: bool = False) -> bool:
        """Return whether to read the next entry now; the caller then does."""
        if self._asked_at is not None and now >= self._asked_at + self._thresholds.answer_s:
            self.lost_sight()
        if self._asked_at is not None or now < self._read_due(at_once):
            return False
        self._asked_at, self._next_read = now, now + self._thresholds.probe_s
        return True

    def awaits(self, now: float) -> bool:
        """Return whether a read may still be answered."""
        return self._asked_at is not None and now < self._asked_at + self._thresholds.answer_s

    def asked(self, now: float) -> None:
        """Note that a read was sent for another reason."""
        self._asked_at, self._next_read = now, now + self._thresholds.probe_s

    def may_take_over(self, now: float, *, vacant: bool = False) -> bool:
        """Return whether the log answers and its owner has been silent for long enough; `vacant`: it has none."""
        silent = vacant or now >= self.heard_at + self._thresholds.silence_s
        return silent and not self._away and now >= self._not_before

    def next_s(self, now: float, *, at_once: bool = False) -> float:
        """Return the seconds until something may be due, 0 for now."""
        asked = self._asked_at
        read = asked + self._thresholds.answer_s if asked is not None else self._read_due(at_once)
        over = max(self.heard_at + self._thresholds.silence_s, self._not_before)
        return max(0.0, min(read, over) - now if over > now else read - now)

    def _read_due(self, at_once: bool) -> float:
        first = 0.0 if at_once or self._away else self.heard_at + self._thresholds.direct_read_s
        return max(first, self._next_read)
