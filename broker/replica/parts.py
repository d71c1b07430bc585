"""Cuts a burst into parts of which each is one entry of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from broker.errors import StoreError
from broker.records import PiecesFreed, Record
from broker.replica.batch import encode_batch


class Part(NamedTuple):
    """What becomes one entry."""

    records: Sequence[Record]
    """Those for the store of this candidate."""
    payload: bytes


def parts_of(burst: Sequence[Record], cuts: Sequence[int], most: int, digest: dict[str, int] | None) -> list[Part]:
    """Return the parts of a burst, at least one; the last one has the digest.

    Each has at most `most` bytes, and ends at the end or after one of the first `cuts` records. Raises `StoreError`
    where that cannot be.
    """
    whole = _part(burst, digest)
    if len(whole.payload) <= most:
        return [whole]
    parts: list[Part] = []
    start = end = size = 0
    for cut in (*cuts, len(burst)):
        if cut <= end:
            continue
        added = len(_part(burst[end:cut], None).payload)
        if size and size + added > most:
            parts.append(_part(burst[start:end], None))
            start, size = end, 0
        end, size = cut, size + added
    parts.append(_part(burst[start:], digest))
    largest = max(len(each.payload) for each in parts)
    if largest > most + _DIGEST_BYTES:
        raise StoreError(f"one request changes {largest} bytes, and an entry of the log may have {most}")
    return parts


_DIGEST_BYTES = 512
"""More than a digest has."""


def _part(records: Sequence[Record], digest: dict[str, int] | None) -> Part:
    kept = [each for each in records if type(each) is not PiecesFreed]  # each candidate frees pieces by itself
    return Part(records, encode_batch(kept, digest))
