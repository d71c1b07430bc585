"""Records of a slot that moves, packed in parts."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw

from broker import records
from broker.operations.context import Context
from broker.records import Payload, Record
from broker.state.piece import DAMAGED, Piece
from broker.state.topic import Topic

_encode = msgspec.msgpack.Encoder().encode


class Part(NamedTuple):
    """Some of the records of a slot."""

    body: bytes
    """MessagePack of the list of them."""
    records: int
    last: bool


class Packer:
    """Packs one part after the other."""

    def __init__(self, most_bytes: int, most: int) -> None:
        """Limit each part to `most_bytes` and `most` records. It has at least one record, however large."""
        self._most_bytes, self._most = most_bytes, most
        self._packed: list[Raw] = []
        self._size = 0

    def has_room(self, more: int) -> bool:
        """Return whether a record of `more` bytes belongs in this part."""
        packed = self._packed
        return not packed or (self._size + more <= self._most_bytes and len(packed) < self._most)

    def add(self, *each: Record) -> None:
        """Add records to this part, whatever their size."""
        for record in each:
            self.add_encoded(_encode(record))

    def add_encoded(self, encoded: bytes) -> None:
        """Add a record."""
        self._packed.append(Raw(encoded))
        self._size += len(encoded)

    def take(self, *, last: bool = False) -> Part:
        """Return this part, and begin the next one."""
        part = Part(_encode(self._packed), len(self._packed), last)
        self._packed, self._size = [], 0
        return part


def encode_record(record: Record) -> bytes:
    """Return a record as it is packed."""
    return _encode(record)


def piece_record(context: Context, topic: Topic, piece: Piece) -> records.MessageStored:
    """Return the record that stores a piece, with its content. Raise `StoreError`."""
    whole = None if piece.damaged else context.with_content(topic, piece)
    if whole is None:  # its numbers go along, so that those of the others stay
        return records.MessageStored(topic.name, piece.first, piece.time, Payload(b"", b"", piece.count), DAMAGED)
    body = whole.body
    assert body is not None
    payload = Payload(whole.headers, body, piece.count, whole.offsets)
    return records.MessageStored(topic.name, piece.first, piece.time, payload, piece.expires)
