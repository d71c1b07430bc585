"""Entries survive their bytes, and what this program cannot read in full stops it."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest

from broker.errors import ReplicaError
from broker.records import PiecesFreed, SubscriptionSet
from broker.replica.batch import Batch, decode_batch, encode_batch
from broker.replica.entry import (
    HEADER_BYTES,
    NO_CHAIN,
    Clocks,
    Entry,
    Fence,
    Genesis,
    Kind,
    Release,
    decode_entry,
    encode_entry,
    follows,
    said,
    say,
)
from tests.support.life import LIFE

ENTRY = Entry(7, Kind.BATCH, b"12345678", 3, 2**40, Clocks(1, -2, 3), NO_CHAIN, b"payload")


def test_an_entry_is_the_same_after_it_was_encoded() -> None:
    data = encode_entry(ENTRY, b"previous")
    read = decode_entry(7, data)
    assert read._replace(chain=NO_CHAIN) == ENTRY
    assert follows(data, b"previous")
    assert not follows(data, b"anything")


def test_the_layout_of_an_entry_is_part_of_the_format() -> None:
    """These bytes are in the logs of those who run this program."""
    assert encode_entry(ENTRY, NO_CHAIN).hex() == (
        "464d4c47000103003132333435363738000000000000000300000100000000000000000000000001fffffffffffffffe"
        "0000000000000003bec45918a505a3127061796c6f6164"
    )


def test_every_changed_bit_breaks_the_chain_or_stops() -> None:
    for bit in range(8 * (HEADER_BYTES + 7)):
        data = bytearray(encode_entry(ENTRY, b"previous"))
        data[bit // 8] ^= 1 << bit % 8
        with suppress(ReplicaError):
            decode_entry(7, bytes(data))
            assert not follows(bytes(data), b"previous"), bit


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (b"FML", "less than a header"),
        (b"NATS" + bytes(60), "not written by this program"),
        (b"FMLG\0\2\3" + bytes(57), "format 2, kind 3: use a newer"),
        (b"FMLG\0\1\7" + bytes(57), "format 1, kind 7: use a newer"),
    ],
)
def test_what_is_no_entry_of_this_format_is_refused(changed: bytes, text: str) -> None:
    with pytest.raises(ReplicaError, match=text):
        decode_entry(1, changed)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Kind.GENESIS, Genesis("fanmail", "b0", "0a0b0c0d", "b0,b1")),
        (Kind.FENCE, Fence("b0@h1", b"nonce")),
        (Kind.RELEASE, Release("b0@h2")),
    ],
)
def test_what_an_entry_says_is_read_as_it_was_said(kind: Kind, what: Genesis | Fence | Release) -> None:
    entry = ENTRY._replace(kind=kind, payload=say(what))
    assert said(entry) == what
    with pytest.raises(ReplicaError, match=f"is not a {kind.name}"):
        said(entry._replace(payload=b"\x91\x01"))


def test_every_record_is_the_same_after_it_was_encoded() -> None:
    records = [each for burst in LIFE for each in burst]
    kept = [each for each in records if not isinstance(each, PiecesFreed)]
    assert decode_batch(encode_batch(records, {"messages": 3})) == Batch(kept, {"messages": 3})


def test_a_heartbeat_has_no_payload() -> None:
    assert encode_batch([PiecesFreed((1,))]) == b""
    assert decode_batch(b"") == Batch()


@pytest.mark.parametrize(
    "record", [[99, b"t"], [8, b"t", b"u", 1, "a field that was added"], [8, b"t", b"u"], [22, [1]]]
)
def test_an_unknown_record_or_field_is_refused(record: list[object]) -> None:
    """A state that leaves out what it does not know would differ from the owner's."""
    assert decode_batch(msgspec.msgpack.encode([[[8, b"t", b"u", 1]], {}])).records == [SubscriptionSet(b"t", b"u", 1)]
    with pytest.raises(ReplicaError):
        decode_batch(msgspec.msgpack.encode([[record], {}]))


def test_the_tags_of_records_never_change() -> None:
    records = {type(each).__name__: msgspec.msgpack.decode(msgspec.msgpack.encode(each))[0] for b in LIFE for each in b}
    assert len(records) > 15
    assert all(a < b for a, b in pairwise(sorted(records.values())))
    assert (records["MessageStored"], records["KeyForgotten"]) == (6, 21)
