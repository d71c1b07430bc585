"""Which contents are in memory, and which in the store only. With a store that keeps nothing all are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from broker.records import Content
from broker.state.piece import Piece
from broker.thresholds import DEFAULT, Thresholds

_STEPS = 4
"""Entries that are looked at with each piece that is freed while many are to be sorted out."""


class BodyCache:
    """Bodies, kept headers and offsets of all pieces. The oldest leave memory first: who reads as fast as others
    publish reads from memory, and who is far behind reads from the store.
    """

    def __init__(
        self, read: Callable[[int], Content] | None = None, keep: int = 0, thresholds: Thresholds = DEFAULT
    ) -> None:
        """`read` gives what a piece of the store says; None: nothing ever leaves memory. `keep` in bytes may stay."""
        self._read = read
        self._keep = keep
        self._stale = thresholds.stale_bodies
        self._here: deque[Piece] = deque()
        """Pieces whose bodies are in memory, the oldest first; others may be among them."""
        self._sifted: deque[Piece] = deque()
        """The same, older than all of those: where there are too many others, a few at a time are sorted out."""
        self._count = 0
        """How many bodies are in memory."""
        self.here_bytes = 0
        """Their bytes. Not kept up where nothing leaves."""
        self.away_bytes = 0
        """Bytes that are in the store only."""

    def stored(self, piece: Piece) -> None:
        """A new piece; one from a store that is loaded comes without its body."""
        if piece.body is None:
            self.away_bytes += piece.size
        elif self._read is not None:
            self._here.append(piece)
            self._count += 1
            self.here_bytes += piece.size

    def freed(self, piece: Piece) -> None:
        """Nobody wants the piece any more."""
        if piece.body is None:
            self.away_bytes -= piece.size
        elif self._read is not None:
            self._drop(piece)
            if len(self._here) + len(self._sifted) > 2 * self._count + self._stale:
                self._sift()

    def whole(self, piece: Piece) -> Piece:
        """The piece, or a copy of it with what the store has of it. Raises `DamagedError` and `StoreError`."""
        if piece.body is not None or self._read is None:
            return piece
        content = self._read(piece.id)
        return replace(piece, headers=content.headers, body=content.body, offsets=content.offsets)

    def shrink(self) -> None:
        """Lets bodies leave memory until no more is there than may be. Only after a commit: all must be stored."""
        while self.here_bytes > self._keep and (self._here or self._sifted):
            piece = (self._sifted or self._here).popleft()
            if piece.body is not None:
                self._drop(piece)
                self.away_bytes += piece.size

    def _sift(self) -> None:
        if not self._here:
            self._here, self._sifted = self._sifted, self._here
        for _ in range(min(_STEPS, len(self._here))):
            piece = self._here.popleft()
            if piece.body is not None:
                self._sifted.append(piece)

    def _drop(self, piece: Piece) -> None:
        piece.headers, piece.body, piece.offsets = b"", None, b""
        self._count -= 1
        self.here_bytes -= piece.size
