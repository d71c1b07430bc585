"""Cuts runs of messages out of a topic's log. Batches need no Python work per message."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from broker.state.piece import Piece, frame
from broker.state.topic import Topic
from common.protocol import ops


class Budget(Struct):
    """What one answer may still hold. Bytes may become negative: the first message always fits."""

    messages: int
    body_bytes: int
    """Of frames."""
    header_bytes: int
    """Of kept headers, which count with every message."""
    one_run: bool = False
    """All messages go in one run; their kept headers are the same and do not count."""

    def allows(self, run: ops.Run) -> bool:
        """Return whether a run of one message fits."""
        return len(run.body) <= self.body_bytes and (self.one_run or len(run.headers) <= self.header_bytes)

    def spend(self, run: ops.Run) -> None:
        """Count a run of one message that goes into the answer."""
        self.messages -= 1
        self.body_bytes -= len(run.body)
        self.header_bytes -= 0 if self.one_run else len(run.headers)


def cut_runs(
    topic: Topic,
    position: int,
    budget: Budget,
    now_ms: int,
    with_content: Callable[[Topic, Piece], Piece | None],
    *,
    required: bool = True,
) -> list[ops.Run]:
    """Return the messages from `position` on, which must not have expired at `now_ms`, and spend the budget.

    There is one run per piece, or one in all; where `required`, at least one message, whatever its size. The sequence
    numbers are consecutive: it ends before the first piece that has expired, and before one that is damaged, for which
    `with_content` returns None instead of the piece with its content.
    """
    runs: list[ops.Run] = []
    one_run, left, room, meta = budget.one_run, budget.messages, budget.body_bytes, budget.header_bytes
    for piece in topic.pieces(position):
        if piece.expires and piece.expires <= now_ms and runs:
            break
        found = piece if piece.body is not None else with_content(topic, piece)
        if found is None or (runs and one_run and found.headers != runs[0].headers):
            break
        each = 0 if one_run else len(found.headers)
        optional = runs or not required
        if optional and (each > meta or room < 0):
            break
        if found.offsets:
            seq = max(position, piece.first)
            body, count = found.frames(seq, min(left, max(1, meta // each)) if each else left, room)
        else:  # most are: a message takes half of the time that it would take as a batch of one
            seq, count, body = piece.first, 1, frame(found.single(piece.first))
        if optional and len(body) > room:
            break
        runs.append(ops.Run(seq, count, piece.time, found.headers, body))
        left, room, meta = left - count, room - len(body), meta - each * count
        if left <= 0 or room <= 0 or seq + count < piece.end:
            break
    budget.messages, budget.body_bytes, budget.header_bytes = left, room, meta
    return [join_runs(runs)] if one_run and len(runs) > 1 else runs


def join_runs(runs: Sequence[ops.Run]) -> ops.Run:
    """Return one run of several whose numbers are consecutive and whose kept headers are the same."""
    first = runs[0]
    count = sum(run.count for run in runs)
    return ops.Run(first.first, count, first.time, first.headers, b"".join(run.body for run in runs))
