"""One entry of a replicated log: a header of 64 bytes, and a payload.

The chain of an entry covers the whole entry and the chain of the entry before it that counts, so two candidates with
the same chain have read the same entries.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct

from broker.errors import ReplicaError

FORMAT = 1
"""Of the header, the payloads, and the records in them."""
LOG_ID_BYTES = CHAIN_BYTES = 8
NO_CHAIN = bytes(CHAIN_BYTES)
_MAGIC = b"FMLG"
_HEADER = struct.Struct(">4sHBx8sQQqqq8s")
HEADER_BYTES = _HEADER.size
_UNCHAINED = HEADER_BYTES - CHAIN_BYTES


class Kind(IntEnum):
    """What an entry is."""

    GENESIS = 1
    """The first entry of a log; says whose it is."""
    FENCE = 2
    """A candidate becomes the owner: nothing of an earlier term counts after it."""
    BATCH = 3
    """Records of one burst. Without any it is a heartbeat, or the fence of answers that needed no record."""
    RELEASE = 4
    """The owner has ended: nothing of its term counts after it."""


class Clocks(NamedTuple):
    """Where the clocks of the broker stood, at the owner."""

    mono_us: int = 0
    """Microseconds of the monotonic clock."""
    time_ms: int = 0
    """Milliseconds of the broker's time."""
    wall_ms: int = 0
    """Milliseconds since 1970 UTC, as the calendar knows the date."""


class Entry(NamedTuple):
    """One entry, as read."""

    position: int
    """Of the entry in the log."""
    kind: Kind
    log_id: bytes
    term: int
    """Of the owner; grows by one with every FENCE. GENESIS has the last one of the log that this one replaces, or 0."""
    number: int
    """Of the entries that count, across terms. GENESIS has 0; a FENCE repeats that of the last entry that counts."""
    clocks: Clocks
    chain: bytes
    payload: bytes


class Genesis(Struct, array_like=True, forbid_unknown_fields=True):
    """The payload of GENESIS."""

    cluster: str
    broker: str
    store_id: str
    """Of all stores that follow this log."""
    brokers: str = ""
    """What an older version wrote here: the ids of all brokers of the cluster."""


class Fence(Struct, array_like=True, forbid_unknown_fields=True):
    """The payload of FENCE. An owner knows its own by the nonce: the answer to an append may be lost or late."""

    candidate: str
    nonce: bytes


class Release(Struct, array_like=True, forbid_unknown_fields=True):
    """The payload of RELEASE."""

    to: str
    """The candidate that takes over at once; "": whichever is first."""


Said = Genesis | Fence | Release
_TYPES: dict[Kind, type[Said]] = {Kind.GENESIS: Genesis, Kind.FENCE: Fence, Kind.RELEASE: Release}


def encode_entry(entry: Entry, before: bytes) -> bytes:
    """Return the bytes of an entry that follows the chain `before`. Its own position and chain are not used."""
    _, kind, log_id, term, number, clocks, _, payload = entry
    header = _HEADER.pack(_MAGIC, FORMAT, kind, log_id, term, number, *clocks, NO_CHAIN)
    return header[:_UNCHAINED] + _chain(before, header, payload) + payload


def decode_entry(position: int, data: bytes) -> Entry:
    """Return the entry. Raises `ReplicaError` for what is none, or of a format that this program does not know."""
    if len(data) < HEADER_BYTES:
        raise ReplicaError(f"entry {position} of the log has {len(data)} bytes, less than a header")
    magic, version, kind, log_id, term, number, *clocks, chain = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ReplicaError(f"entry {position} of the log was not written by this program")
    if version != FORMAT or kind not in _KINDS:
        raise ReplicaError(f"entry {position} of the log has format {version}, kind {kind}: use a newer program")
    return Entry(position, Kind(kind), log_id, term, number, Clocks(*clocks), chain, data[HEADER_BYTES:])


def follows(data: bytes, before: bytes) -> bool:
    """Return whether the chain of an entry is right after the chain `before`."""
    return data[_UNCHAINED:HEADER_BYTES] == _chain(before, data, memoryview(data)[HEADER_BYTES:])


def said(entry: Entry) -> Said:
    """Return what a GENESIS, FENCE or RELEASE says. Raises `ReplicaError`."""
    try:
        return msgspec.msgpack.decode(entry.payload, type=_TYPES[entry.kind])
    except msgspec.MsgspecError as error:
        raise ReplicaError(f"entry {entry.position} of the log is not a {entry.kind.name}: {error}") from error


def say(what: Said) -> bytes:
    """Return the payload that says this."""
    return msgspec.msgpack.encode(what)


_KINDS = frozenset(Kind)


def _chain(before: bytes, header: bytes, payload: bytes | memoryview) -> bytes:
    digest = blake2b(before, digest_size=CHAIN_BYTES)
    digest.update(header[:_UNCHAINED])
    digest.update(payload)
    return digest.digest()
