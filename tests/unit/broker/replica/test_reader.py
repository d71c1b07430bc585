"""Which entries of a log count, and which stop a reader."""

from __future__ import annotations

import pytest

from broker.errors import ReplicaError
from broker.replica.entry import Fence, Kind, Release, say
from broker.replica.reader import REMEMBERED, LogReader
from tests.support.scripted_log import CLOCKS, LOG_ID, Writer


@pytest.fixture
def writer() -> Writer:
    """GENESIS, a FENCE and two batches: positions 1 to 4, term 1, number 2."""
    writer = Writer()
    writer.fence("b0@h1", b"nonce")
    writer.batch(b"one")
    writer.batch(b"two")
    return writer


@pytest.fixture
def reader(writer: Writer) -> LogReader:
    reader = LogReader(LOG_ID)
    assert all(reader.take(*each) for each in writer.from_(1).entries)
    return reader


def test_what_is_in_order_counts(reader: LogReader) -> None:
    at = reader.at
    assert (at.position, at.term, at.number, at.clocks, at.released) == (4, 1, 2, CLOCKS, False)
    assert (reader.owner, reader.nonce) == ("b0@h1", b"nonce")


def test_a_reader_continues_where_another_stood(writer: Writer, reader: LogReader) -> None:
    position = reader.at
    writer.batch(b"three")
    writer.fence()
    again = LogReader(LOG_ID, position)
    assert all(again.take(*each) for each in writer.from_(5).entries)
    assert again.at == writer.reader.at
    assert again.owner == "b0@h2"


def test_a_double_is_skipped(writer: Writer, reader: LogReader) -> None:
    before = reader.at
    assert reader.take(5, writer.entries[3]) is None
    assert reader.take(6, writer.entries[2]) is None
    assert reader.take(7, writer.entries[1]) is None
    assert reader.at == before._replace(position=7)


def test_a_double_that_is_long_past_is_skipped_unseen(writer: Writer, reader: LogReader) -> None:
    for n in range(REMEMBERED):
        writer.batch(b"%d" % n)
    assert all(reader.take(*each) for each in writer.from_(5).entries)
    for n in (1, 2, 3, REMEMBERED + 2):
        assert reader.take(reader.at.position + 1, writer.entries[n + 1]) is None
    assert reader.take(reader.at.position + 1, writer.made(Kind.BATCH, b"other", number=2)) is None
    with pytest.raises(ReplicaError, match="is not what that number was"):
        reader.take(reader.at.position + 1, writer.made(Kind.BATCH, b"other", number=3))


def test_an_entry_that_differs_from_the_one_with_its_number_stops(writer: Writer, reader: LogReader) -> None:
    with pytest.raises(ReplicaError, match="entry 5 has number 2 and is not what that number was"):
        reader.take(5, writer.made(Kind.BATCH, b"other", number=2))


def test_a_number_that_is_missing_stops(writer: Writer, reader: LogReader) -> None:
    with pytest.raises(ReplicaError, match="entry 5 has number 4 behind 2: one is missing"):
        reader.take(5, writer.made(Kind.BATCH, number=4))


def test_an_entry_of_an_earlier_term_is_skipped(writer: Writer, reader: LogReader) -> None:
    late = writer.made(Kind.BATCH, b"of a deposed owner")
    reader.take(5, writer.fence())
    assert reader.take(6, late) is None
    assert (reader.at.term, reader.at.number, reader.at.position) == (2, 2, 6)


def test_an_entry_of_a_term_without_a_fence_stops(writer: Writer, reader: LogReader) -> None:
    with pytest.raises(ReplicaError, match="of term 2, whose FENCE is missing"):
        reader.take(5, writer.made(Kind.BATCH, term=2))


def test_a_fence_that_is_not_newer_is_skipped(writer: Writer, reader: LogReader) -> None:
    late = writer.made(Kind.FENCE, say(Fence("b0@h3", b"late")), term=2, number=2)
    reader.take(5, writer.fence())
    assert reader.take(6, late) is None
    assert reader.owner == "b0@h2"


@pytest.mark.parametrize(("term", "number"), [(3, 2), (2, 1), (2, 3)])
def test_a_fence_behind_other_entries_than_were_read_stops(
    writer: Writer, reader: LogReader, term: int, number: int
) -> None:
    with pytest.raises(ReplicaError, match=f"FENCE at 5 is of term {term} behind number {number}"):
        reader.take(5, writer.made(Kind.FENCE, say(Fence("b0@h3", b"n")), term=term, number=number))


def test_nothing_of_its_term_counts_behind_a_release(writer: Writer, reader: LogReader) -> None:
    reader.take(5, writer.release("b0@h2"))
    assert (reader.at.released, reader.released_to) == (True, "b0@h2")
    assert reader.take(6, writer.made(Kind.BATCH)) is None
    assert reader.take(7, writer.fence()) is not None
    assert not reader.at.released


def test_a_broken_chain_stops(writer: Writer, reader: LogReader) -> None:
    """The right number, behind other content."""
    other = Writer()
    other.fence("b0@h1", b"nonce")
    other.batch(b"one")
    other.batch(b"TWO")
    with pytest.raises(ReplicaError, match="continues other entries than this candidate has read"):
        reader.take(5, other.batch(b"three"))


def test_a_gap_in_positions_stops(writer: Writer, reader: LogReader) -> None:
    with pytest.raises(ReplicaError, match="continues at 6 behind 4: entries are missing"):
        reader.take(6, writer.batch())


def test_another_log_stops(reader: LogReader) -> None:
    other = Writer(b"another ")
    other.fence()
    with pytest.raises(ReplicaError, match="is of log"):
        reader.take(5, other.batch())


def test_genesis_is_the_first_entry_and_no_other(writer: Writer, reader: LogReader) -> None:
    with pytest.raises(ReplicaError, match="entry 5 of the log is a GENESIS"):
        reader.take(5, writer.entries[0])
    with pytest.raises(ReplicaError, match="entry 1 of the log is a FENCE"):
        LogReader(LOG_ID).take(1, writer.entries[1])


def test_nothing_has_changed_where_a_reader_stops(writer: Writer, reader: LogReader) -> None:
    before = reader.at
    for broken in (b"", writer.made(Kind.RELEASE, b"no release"), writer.made(Kind.BATCH, number=9)):
        with pytest.raises(ReplicaError):
            reader.take(5, broken)
    assert reader.at == before
    assert say(Release("")) != b""
