"""Whether ids have gaps: the proof that nothing was lost."""

from __future__ import annotations

from fanmail.message import MessageId

KEPT_GAPS = 100


class Gapless:
    """Watches the ids of one topic in the order in which they come.

    >>> seen = Gapless()
    >>> for seq in (7, 8, 8, 11):
    ...     seen.add(f"4f1c-{seq}")
    >>> seen.count, seen.repeats, seen.missing, seen.gaps
    (3, 1, 2, ['4f1c-9 to 4f1c-10'])
    """

    def __init__(self) -> None:
        self.count = 0
        """Different messages."""
        self.repeats = 0
        """Messages that came again, which at-least-once allows."""
        self.missing = 0
        self.gaps: list[str] = []
        """The first of them."""
        self.lives = 1
        """Lives of the topic; with each new one messages were lost."""
        self._first: MessageId | None = None
        self._last: MessageId | None = None

    def add(self, text: str) -> None:
        """The next id. Raises ValueError for what is none."""
        found = MessageId.parse(text)
        last = self._last
        if last is not None and found.epoch == last.epoch:
            if found.seq <= last.seq:
                self.repeats += 1
                return
            if found.seq > last.seq + 1:
                self._gap(last.seq + 1, found.seq - 1, found.epoch)
        elif last is not None:
            self.lives += 1
        self._first = self._first or found
        self._last = found
        self.count += 1

    def _gap(self, first: int, last: int, epoch: str) -> None:
        self.missing += last - first + 1
        if len(self.gaps) < KEPT_GAPS:
            self.gaps.append(f"{epoch}-{first}" + (f" to {epoch}-{last}" if last > first else ""))

    @property
    def whole(self) -> bool:
        """Whether nothing is missing between the first and the last."""
        return not self.missing and self.lives == 1

    def report(self) -> dict[str, object]:
        """For JSON."""
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
            return "no message came"
        span = f"{self.count:,} messages from {self._first} to {self._last}"
        if self.whole:
            return f"{span}: nothing is missing" + (f"; {self.repeats:,} came again" if self.repeats else "")
        trouble = [f"{self.missing:,} missing ({', '.join(self.gaps[:5])})"] if self.missing else []
        trouble += [f"the topic began {self.lives - 1} new lives"] if self.lives > 1 else []
        return f"{span}: " + ", ".join(trouble)
