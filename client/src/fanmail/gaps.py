"""Detection of gaps in message ids, which proves whether messages were lost."""

from __future__ import annotations

from fanmail.message import MessageId

MAX_LISTED_GAPS = 100


class GapDetector:
    """Detects gaps in the ids of one topic, given in the order in which the messages arrive.

    >>> detector = GapDetector()
    >>> for seq in (7, 8, 8, 11):
    ...     detector.add(f"4f1c-{seq}")
    >>> detector.count, detector.repeats, detector.missing, detector.gaps
    (3, 1, 2, ['4f1c-9 to 4f1c-10'])
    """

    def __init__(self) -> None:
        self.count: int = 0
        """Distinct messages."""
        self.repeats: int = 0
        """Messages that arrived again, which at-least-once delivery allows."""
        self.missing: int = 0
        """Messages that did not arrive."""
        self.gaps: list[str] = []
        """The first `MAX_LISTED_GAPS` gaps."""
        self.lives: int = 1
        """Lives of the topic; messages were lost with each new one."""
        self._first: MessageId | None = None
        self._last: MessageId | None = None

    def add(self, text: str) -> None:
        """Add the next id. Raises ValueError if it is not a message id."""
        found = MessageId.parse(text)
        last = self._last
        if last is not None and found.epoch == last.epoch:
            if found.seq <= last.seq:
                self.repeats += 1
                return
            if found.seq > last.seq + 1:
                self._add_gap(last.seq + 1, found.seq - 1, found.epoch)
        elif last is not None:
            self.lives += 1
        self._first = self._first or found
        self._last = found
        self.count += 1

    def _add_gap(self, first: int, last: int, epoch: str) -> None:
        self.missing += last - first + 1
        if len(self.gaps) < MAX_LISTED_GAPS:
            self.gaps.append(f"{epoch}-{first}" + (f" to {epoch}-{last}" if last > first else ""))

    @property
    def whole(self) -> bool:
        """Whether nothing is missing between the first and the last message."""
        return not self.missing and self.lives == 1

    def report(self) -> dict[str, object]:
        """Return all findings as an object for JSON."""
        return {
            "whole": self.whole,
            "count": self.count,
            "missing": self.missing,
            "repeats": self.repeats,
            "lives": self.lives,
            "first": str(self._first) if self._first else None,
            "last": str(self._last) if self._last else None,
            "gaps": self.gaps,
        }

    def __str__(self) -> str:
        if not self.count:
            return "no message arrived"
        span = f"{self.count:,} messages from {self._first} to {self._last}"
        if self.whole:
            return f"{span}: nothing is missing" + (f"; {self.repeats:,} arrived again" if self.repeats else "")
        losses = [f"{self.missing:,} missing ({', '.join(self.gaps[:5])})"] if self.missing else []
        losses += [f"the topic began {self.lives - 1} new lives"] if self.lives > 1 else []
        return f"{span}: " + ", ".join(losses)
