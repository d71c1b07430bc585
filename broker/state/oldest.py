"""How old the oldest message of a broker is, kept up so that asking costs nothing.

Pieces are counted by the second in which they were published. They are stored in the order of their times, so the first
second that is left is the oldest; every step is O(1), and there are never more entries than pieces. The counting is in
`PieceList.append` and `PieceList._free`, without a call, for it is done for every message; what becomes garbage counts
until it is collected.
"""

from __future__ import annotations

SECOND_MS = 1000
"""Milliseconds: what was published within one counts as equally old."""

PiecesPerSecond = dict[int, int]
"""How many pieces were published in which second of the broker's time; none is 0."""


def oldest_age(seconds: PiecesPerSecond, now: int) -> int:
    """Milliseconds since the second of the oldest piece began, 0 where there is none; `now` is of the broker's time."""
    first = next(iter(seconds), None)
    return 0 if first is None else max(0, now - first * SECOND_MS)
