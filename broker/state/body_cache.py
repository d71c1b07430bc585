"""Which bodies are in memory, and which in the store only. With a store that is not durable all are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from broker.records import Content
from broker.state.piece import Piece
from broker.thresholds import DEFAULT, Thresholds

_STEPS = 4
"""Queue entries that are examined per freed piece while too many of them are stale."""


class BodyCache:
    """Bodies, kept headers and offsets of all pieces.

    The oldest leave memory first: a reader as fast as the publishers reads from memory, one that is far behind from the
    store.
    """

    def __init__(
        self, read: Callable[[int], Content] | None = None, keep: int = 0, thresholds: Thresholds = DEFAULT
    ) -> None:
        """Create it.

        `read` returns the content of a piece from the store; None: nothing leaves memory. `keep` is the bytes that may
        stay.
        """
        self._read = read
        self._keep = keep
        self._stale = thresholds.stale_bodies
        self._here: deque[Piece] = deque()
        """Pieces whose bodies are in memory, the oldest first; there may be stale entries."""
        self._sifted: deque[Piece] = deque()
        """The same, older than all of those: a few entries at a time move here when too many are stale."""
        self._count = 0
        """Bodies in memory."""
        self.here_bytes = 0
        """Bytes of bodies in memory. Not maintained where nothing leaves memory."""
        self.away_bytes = 0
        """Bytes that are in the store only."""

    def stored(self, piece: Piece) -> None:
        """Add a new piece; one that is loaded from a store has no body."""
        if piece.body is None:
            self.away_bytes += piece.size
        elif self._read is not None:
            self._here.append(piece)
            self._count += 1
            self.here_bytes += piece.size

    def freed(self, piece: Piece) -> None:
        """Remove a piece that no subscriber needs."""
        if piece.body is None:
            self.away_bytes -= piece.size
        elif self._read is not None:
            self._drop(piece)
            if len(self._here) + len(self._sifted) > 2 * self._count + self._stale:
                self._sift()

    def with_content(self, piece: Piece) -> Piece:
        """Return the piece, or a copy of it with its content from the store. Raise `DamagedError` and `StoreError`."""
        if piece.body is not None or self._read is None:
            return piece
        content = self._read(piece.id)
        return replace(piece, headers=content.headers, body=content.body, offsets=content.offsets)

    def shrink(self, stored: int) -> None:
        """Evict bodies until no more than `keep` bytes are in memory.

        Only pieces up to number `stored`, which the store has.
        """
        while self.here_bytes > self._keep and (self._here or self._sifted):
            oldest = self._sifted or self._here
            if oldest[0].id > stored:
                return
            piece = oldest.popleft()
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
