"""One slot that leaves: where it stands, and what its target has been sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from broker.dispatch.links import Question
from broker.operations.copying import Copy
from broker.operations.packing import Part
from common.clock import Now
from common.protocol.move_ops import Adopted

MOST_SENT = 2
"""Parts of a frozen slot that its target has not answered: one more than it works on, so that it need not wait."""


class Phase(Enum):
    """Where a move stands at its source; the values are states of `MoveRow`."""

    OFFERING = "offering"
    COPYING = "copying"
    LEAVING = "leaving"
    ASKING = "asking"
    LEFT = "left"
    REFUSED = "refused"


class SentPart(NamedTuple):
    """A part that the target has not answered, as far as is known."""

    n: int
    last: bool
    question: Question


class Job:
    """One slot that is to leave. Volatile: after a restart the target is asked."""

    def __init__(self, slot: int, to: str, phase: Phase, now: Now, move: int = 0) -> None:
        self.slot, self.to, self.phase, self.move = slot, to, phase, move
        self.began_us = self.next_us = now.mono
        self.frozen_us = now.mono
        """When it was frozen."""
        self.reason = ""
        self.records = self.bytes = self.parts = 0
        """Sent."""
        self.question: Question | None = None
        self.sent: deque[SentPart] = deque()
        self.copy: Copy | None = None
        """What was sent before the freeze."""
        self.source: Iterator[Part] | None = None
        """The parts to send then; None before the first."""

    @property
    def over(self) -> bool:
        """Return whether nothing is left to do."""
        return self.phase in (Phase.LEFT, Phase.REFUSED)

    @property
    def sends(self) -> bool:
        """Return whether a part can be sent now."""
        if self.phase is Phase.COPYING:
            return not self.sent
        return self.phase is Phase.LEAVING and len(self.sent) < MOST_SENT and not (self.sent and self.sent[-1].last)

    def answer(self) -> Question | None:
        """Return and forget the question that was answered; None where there is none."""
        if self.question is None or not self.question.done:
            return None
        question, self.question = self.question, None
        return question

    def outcome(self) -> tuple[str, int]:
        """Look at the answers to parts. Return what is wrong with one, and the new epoch of a slot that has arrived."""
        while self.sent and self.sent[0].question.done:
            part = self.sent.popleft()
            result = part.question.result
            if part.question.error is not None:
                return part.question.error.detail or part.question.error.code, 0
            if not isinstance(result, Adopted) or (result.n, result.epoch > 0) != (part.n, part.last):
                return f"broker {self.to} has answered something else", 0
            if part.last:
                return "", result.epoch
        return "", 0

    def forget(self) -> None:
        """Wait for no answer any more, and send nothing."""
        self.question = self.source = self.copy = None
        self.sent.clear()
