"""Messages that cannot be read as they were written: pieces that are passed over, and how many messages they hold."""

from __future__ import annotations

from itertools import takewhile

from broker.topic import Topic


def damaged_between(topic: Topic, seq: int, end: int) -> int:
    """How many messages of damaged pieces there are from a stored one on and before another or `next_seq`."""
    if not topic.ttls or seq == end:
        return 0
    pieces = takewhile(lambda piece: piece.first < end, topic.pieces(seq))
    return sum(min(piece.end, end) - max(piece.first, seq) for piece in pieces if piece.damaged)
