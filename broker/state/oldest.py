"""How old the oldest message of a broker is, maintained so that asking costs nothing.

Pieces are counted per second of their publishing. They are stored in the order of their times, so the first second left
is the oldest; every step is O(1), and there are never more entries than pieces. `PieceList.append` and
`PieceList._free` count inline, for they run for every message; garbage counts until it is freed.
"""

from __future__ import annotations

SECOND_MS = 1000
"""Milliseconds: messages of the same second count as equally old."""

PiecesPerSecond = dict[int, int]
"""Number of pieces by the second of the broker's time in which they were published; none is 0."""


def oldest_age(seconds: PiecesPerSecond, now: int) -> int:
    """Return milliseconds since the second of the oldest piece began, 0 without one; `now` in the broker's time."""
    first = next(iter(seconds), None)
    return 0 if first is None else max(0, now - first * SECOND_MS)
