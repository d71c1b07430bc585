"""The first entry of a log, which says whose it is; and where a store stands that has read just that."""

from __future__ import annotations

from broker.replica.entry import NO_CHAIN, Clocks, Entry, Genesis, Kind, decode_entry, encode_entry, say
from broker.replica.reader import LogReader, Position


def genesis_entry(log_id: bytes, genesis: Genesis, clocks: Clocks, term: int = 0) -> bytes:
    """Return the bytes of the first entry of a log.

    The clocks of the first owner continue from `clocks`, and its term is greater than `term`: terms grow as long as
    there is the broker, also where it begins a new log.
    """
    return encode_entry(Entry(1, Kind.GENESIS, log_id, term, 0, clocks, NO_CHAIN, say(genesis)), NO_CHAIN)


def after_genesis(log_id: bytes, entry: bytes) -> Position:
    """Return where a reader stands behind the first entry."""
    reader = LogReader(log_id)
    reader.take(decode_entry(1, entry).position, entry)
    return reader.at
