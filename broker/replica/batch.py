"""The payload of a BATCH: the records of one burst, and once per second the digest of the owner's state."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from broker.errors import ReplicaError
from broker.records import PiecesFreed, Record


class Batch(Struct, array_like=True, forbid_unknown_fields=True):
    """What one BATCH holds; both empty in a heartbeat."""

    records: list[Record] = []
    digest: dict[str, int] = {}
    """Counts of the state after these records, which must be the same in every candidate; empty: not in this one."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


def encode_batch(records: Iterable[Record], digest: dict[str, int] | None = None) -> bytes:
    """Return the payload; b"" where there is nothing in it. `PiecesFreed` is left out: each candidate derives it."""
    kept = [each for each in records if type(each) is not PiecesFreed]
    return _encode(Batch(kept, digest or {})) if kept or digest else b""


def decode_batch(payload: bytes) -> Batch:
    """Return what the payload holds.

    Raises `ReplicaError` for what this program does not know in full: a state without it would differ.
    """
    if not payload:
        return Batch()
    try:
        batch = _decode(payload)
    except msgspec.MsgspecError as error:
        raise ReplicaError(f"the log has a record that this program does not know: {error}") from error
    if any(type(each) is PiecesFreed for each in batch.records):
        raise ReplicaError("the log has a record that belongs to a store")
    return batch
