"""A block of a topic's pieces, with sums so that whole blocks are skipped or dropped in one step."""

from __future__ import annotations

from msgspec import Struct

from broker.state.piece import Piece

NEVER = 2**63
"""When a piece without a ttl expires."""


class Block(Struct, gc=False):
    """Consecutive pieces of a log. Bytes and ttls of a block follow from where it and the next one begin."""

    first: int
    """Sequence number of its first message when it was created."""
    pieces: list[Piece]
    bytes_before: int
    """Content bytes of everything before it in the log, in this life of the topic."""
    ttls_before: int
    """Pieces before it that expire."""
    readers: int = 0
    """Of all its pieces together."""
    latest: int = NEVER
    """When all its pieces have expired, or later."""
    damaged: int = 0
    """Messages of damaged pieces."""

    @property
    def end(self) -> int:
        """Return the sequence number after its last message."""
        return self.pieces[-1].end

    def unexpired(self, at: int, wall: int) -> Piece | None:
        """Return its first piece from index `at` on that has not expired at `wall`, None where all have."""
        for index in range(at, len(self.pieces)):
            piece = self.pieces[index]
            if not piece.expires or piece.expires > wall:
                return piece
        return None

    def damaged_between(self, at: int, seq: int, end: int) -> int:
        """Return the number of messages of damaged pieces from `seq` on, which is in piece `at` or before, to `end`."""
        if not self.damaged or (seq <= self.pieces[0].first and self.end <= end):
            return self.damaged
        pieces = (self.pieces[index] for index in range(at, len(self.pieces)))
        return sum(max(0, min(piece.end, end) - max(piece.first, seq)) for piece in pieces if piece.damaged)

    def seal(self) -> None:
        """Set `latest`: nothing is appended to this block any more."""
        self.latest = max(each.expires or NEVER for each in self.pieces if each.count)
