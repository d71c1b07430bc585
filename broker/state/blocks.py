"""A block of a topic's pieces: what it comes to is known without a look at each of them."""

from __future__ import annotations

from msgspec import Struct

from broker.state.piece import Piece

NEVER = 2**63
"""When a piece without a ttl expires."""


class Block(Struct, gc=False):
    """Some pieces of a log that follow one another. What it comes to follows from where it and the next one begin."""

    first: int
    """Sequence number of its first message when it began."""
    pieces: list[Piece]
    bytes_before: int
    """Content of all that was in the log before it, in this life of the topic."""
    ttls_before: int
    """How many pieces of that expire."""
    readers: int = 0
    """Of all its pieces together."""
    latest: int = NEVER
    """When all its pieces have expired, or later."""
    damaged: int = 0
    """Messages of damaged pieces."""

    @property
    def end(self) -> int:
        """Sequence number behind its last message."""
        return self.pieces[-1].end

    def unexpired(self, at: int, wall: int) -> Piece | None:
        """Its first piece from index `at` on that may be handed out; looked for where `latest` leaves it open."""
        for index in range(at, len(self.pieces)):
            piece = self.pieces[index]
            if not piece.expires or piece.expires > wall:
                return piece
        return None

    def damaged_between(self, at: int, seq: int, end: int) -> int:
        """How many messages of damaged pieces it has from `seq` on, which is in its piece `at` or before, to `end`."""
        if not self.damaged or (seq <= self.pieces[0].first and self.end <= end):
            return self.damaged
        pieces = (self.pieces[index] for index in range(at, len(self.pieces)))
        return sum(max(0, min(piece.end, end) - max(piece.first, seq)) for piece in pieces if piece.damaged)

    def seal(self) -> None:
        """Nothing comes to it any more: from now on it knows when all of it has expired."""
        self.latest = max(each.expires or NEVER for each in self.pieces if each.count)
