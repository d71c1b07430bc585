"""A burst becomes entries that are small enough, cut only where that is allowed."""

from __future__ import annotations

from itertools import chain

import pytest

from broker.errors import StoreError
from broker.records import PiecesFreed, Record, SubscriptionSet
from broker.replica.batch import decode_batch
from broker.replica.parts import parts_of

BURST: list[Record] = [SubscriptionSet(b"t", b"user %d" % number, 1) for number in range(12)]
FREED = PiecesFreed((1, 2))


def positions(cuts: list[int], most: int) -> list[int]:
    """Return the number of records in each part of the burst."""
    parts = parts_of(BURST, cuts, most, {"topics": 1})
    assert list(chain.from_iterable(each.records for each in parts)) == BURST
    assert all(len(each.payload) <= most for each in parts[:-1])
    assert [bool(decode_batch(each.payload).digest) for each in parts] == [False] * (len(parts) - 1) + [True]
    return [len(each.records) for each in parts]


def test_a_small_burst_is_one_entry() -> None:
    assert positions([3, 6], 10_000) == [12]


@pytest.mark.parametrize(("cuts", "lengths"), [([4, 8], [4, 4, 4]), ([2, 5, 7, 10, 12], [5, 5, 2]), ([6, 6], [6, 6])])
def test_a_large_one_is_cut_where_a_request_ends(cuts: list[int], lengths: list[int]) -> None:
    assert positions(cuts, 100) == lengths


def test_what_may_not_be_cut_is_refused() -> None:
    with pytest.raises(StoreError):
        parts_of(BURST * 10, [3], 100, None)


def test_what_concerns_one_candidate_only_stays_out_of_the_log() -> None:
    (part,) = parts_of([BURST[0], FREED], (), 10_000, None)
    assert decode_batch(part.payload).records == [BURST[0]]
    assert part.records == [BURST[0], FREED]


def test_a_burst_without_records_is_an_empty_entry() -> None:
    assert [each.payload for each in parts_of([], (), 100, None)] == [b""]
    assert [each.payload for each in parts_of([FREED], (), 100, None)] == [b""]
