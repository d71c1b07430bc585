"""Pieces that nobody wants any more, and idempotency keys of topics that have ended.

What a log drops in whole blocks, or with its topic, is gone at once for the topic and its readers, but still in memory;
freeing it is spread over many turns of the loop. Not a part of the state: only memory depends on when it is done.
"""

from __future__ import annotations

from collections import deque

from broker.records import PiecesFreed, Record
from broker.state.blocks import Block
from broker.state.body_cache import BodyCache
from broker.state.idempotency import TopicKeys
from broker.state.oldest import SECOND_MS, PiecesPerSecond
from broker.state.piece import MESSAGE_COST, Piece


class Garbage:
    """The garbage of all logs of a broker."""

    def __init__(self, bodies: BodyCache | None = None, durable: bool = False) -> None:
        """Create it; `bodies` is told of freed pieces where `durable`, and the store then wants to know, too."""
        self.freed: list[Piece] | None = [] if durable else None
        """Where `durable`, pieces that were freed one by one since the last `take_freed`."""
        self.seconds: PiecesPerSecond = {}
        """All pieces in memory, stored or garbage, by age (`broker/state/oldest.py`)."""
        self.pieces = 0
        """Pieces in the blocks that are not freed yet."""
        self.bytes = 0
        """Their content bytes."""
        self._bodies = bodies or BodyCache()
        self._blocks: deque[Block] = deque()
        self._collected: list[int] = []
        self._keys: deque[TopicKeys] = deque()
        self._key_bytes = 0

    @property
    def memory(self) -> int:
        """Return the estimated bytes of memory of what is not freed yet."""
        return self.bytes + self.pieces * MESSAGE_COST + self._key_bytes

    @property
    def any(self) -> bool:
        """Return whether there is anything to free."""
        return bool(self._blocks or self._keys)

    def add(self, block: Block, size: int) -> None:
        """Add a whole block that its log has dropped, with `size` bytes of content."""
        self._blocks.append(block)
        self.pieces += len(block.pieces)
        self.bytes += size

    def add_keys(self, keys: TopicKeys) -> None:
        """Add all keys of a topic that has ended."""
        self._keys.append(keys)
        self._key_bytes += keys.weight

    def collect(self, most: int) -> None:
        """Free at most `most` pieces and keys, the longest dropped first."""
        pieces = min(most, self.pieces)
        self._collect_pieces(pieces)
        for _ in range(most - pieces):
            if not self._keys:
                return
            of = self._keys[0]
            each = of.weight // len(of.keys)
            of.keys.popitem()
            of.weight -= each
            self._key_bytes -= each
            if not of.keys:
                self._keys.popleft()

    def _collect_pieces(self, count: int) -> None:
        for _ in range(count):
            pieces = self._blocks[0].pieces
            piece = pieces.pop()
            if not pieces:
                self._blocks.popleft()
            self.pieces -= 1
            self.bytes -= piece.size
            second = piece.time // SECOND_MS
            self.seconds[second] -= 1
            if not self.seconds[second]:
                del self.seconds[second]
            if self.freed is not None:
                self._bodies.freed(piece)
                self._collected.append(piece.id)

    def take_freed(self) -> list[Record]:
        """Return one `PiecesFreed` for all pieces freed since the last call, where the store is durable."""
        if not self.freed and not self._collected:
            return []
        numbers, self._collected = self._collected, []
        if self.freed:
            freed = self._bodies.freed
            for piece in self.freed:
                numbers.append(piece.id)
                freed(piece)
            self.freed.clear()
        return [PiecesFreed(tuple(numbers))]
