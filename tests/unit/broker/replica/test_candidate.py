"""What one candidate does, event by event; many of them together are in `tests/simulation/candidates.py`."""

from __future__ import annotations

import itertools

import pytest

from broker.errors import BrokenInvariantError, DeposedError, ReplicaError
from broker.replica.candidate import Candidate, Me, Role
from broker.replica.entry import Genesis, Kind, decode_entry, said, say
from broker.replica.log import (
    Appended,
    Down,
    Entries,
    Event,
    Full,
    Lost,
    Missing,
    Purged,
    Refused,
    Unknown,
    Up,
)
from broker.replica.reader import START, LogReader
from broker.replica.thresholds import DEFAULT
from common.clock import Mark
from tests.support.scripted_log import LOG_ID, ScriptedLog, Writer

MARK = Mark(1_000_000, 1_700_000, "", 0, 5)
UNKNOWN = Unknown("no answer")


class One:
    """A candidate, `b0@h1`, that has read a log whose owner is another one: GENESIS, FENCE, batch; positions 1 to 3."""

    def __init__(self, *, owner: bool = True, may_own: bool = True) -> None:
        self.now = 100.0
        self.log = ScriptedLog()
        self.writer = Writer()
        if owner:
            self.writer.fence()
            self.writer.batch(b"first")
        nonces = itertools.count()
        me = Me("b0@h1", LOG_ID, lambda: b"nonce %d" % next(nonces), lambda: self.now, lambda: may_own)
        self.candidate = Candidate(self.log, me, START, DEFAULT)
        self.hear(self.writer.from_(1))
        self.log.take_asked()

    @property
    def last(self) -> int:
        return len(self.writer.entries)

    def hear(self, *events: Event) -> list[Kind]:
        """A turn with these events; return the kinds of the entries to be applied."""
        self.log.says += events
        return [each.kind for each in self.candidate.turn()]

    def after(self, seconds: float, *events: Event) -> list[tuple[str, int]]:
        """Let time pass, then have a turn; return what the log was asked."""
        self.now += seconds
        self.hear(*events)
        return self.log.take_asked()

    def own(self) -> One:
        """Let it take over."""
        for _ in range(7):
            if ("append", self.last) in self.after(0.5, Missing(self.last + 1, 1, self.last)):
                break
        self.hear(Appended(self.add()))
        assert self.candidate.role is Role.OWNER
        self.log.take_asked()
        return self

    def add(self) -> int:
        """The append under way lands; return its position."""
        self.writer.add(self.log.data)
        return self.last

    def append(self, payload: bytes = b"mine") -> bytes:
        self.candidate.append(payload, MARK)
        return self.log.data


def test_a_new_log_is_taken_as_soon_as_a_read_says_that_nothing_follows() -> None:
    one = One(owner=False)
    assert one.after(0.0) == []
    assert one.candidate.role is Role.FOLLOWING
    assert one.after(0.0, Missing(2, 1, 1)) == [("append", 1)]
    assert one.candidate.role is Role.FENCING
    assert one.after(0.1, Appended(one.add())) == [("unfollow", 0)]
    assert (one.candidate.role, one.candidate.position.term) == (Role.OWNER, 1)


def test_a_log_that_replaces_another_one_continues_its_terms() -> None:
    writer, log = Writer(), ScriptedLog()
    writer.entries.clear()
    writer.reader = LogReader(LOG_ID)
    writer.add(writer.made(Kind.GENESIS, say(Genesis("fanmail", "b0", "0a0b0c0d", "b0")), term=7, number=0))
    candidate = Candidate(log, Me("b0@h1", LOG_ID, lambda: b"n", lambda: 0.0, lambda: True), START)
    log.says += [writer.from_(1), Missing(2, 1, 1)]
    candidate.turn()
    assert decode_entry(2, log.data).term == 8


def test_nothing_is_written_to_a_log_without_genesis() -> None:
    """Whoever creates logs writes the first entry: a stream that was emptied is not begun anew."""
    log, now = ScriptedLog(), [0.0]
    candidate = Candidate(log, Me("b0@h1", LOG_ID, lambda: b"n", lambda: now[0], lambda: True), START)
    for _ in range(30):
        now[0] += 0.5
        log.says.append(Missing(1, 1, 0))
        candidate.turn()
    assert "append" not in dict(log.asked)


def test_a_silent_owner_is_replaced_after_three_seconds() -> None:
    one = One()
    assert one.after(1.4) == []
    assert one.after(0.1) == [("read", 4)]
    assert one.after(0.1, Missing(4, 1, 3)) == []
    assert one.after(1.3, Missing(4, 1, 3)) == [("read", 4)]
    assert one.after(0.15) == [("append", 3)]
    entry = decode_entry(4, one.log.data)
    assert (entry.kind, entry.term, entry.number, said(entry).candidate) == (Kind.FENCE, 2, 1, "b0@h1")  # type: ignore[union-attr]


def test_any_new_entry_is_a_sign_of_life_but_not_one_that_comes_again() -> None:
    one = One()
    one.after(2.0, Entries([(4, one.writer.entries[2])]))  # a double, which does not count
    assert one.candidate.position.position == 4
    for _ in range(5):
        one.after(0.5, Entries([(4, one.writer.entries[2])]), Missing(5, 1, 4))
    assert one.candidate.role is Role.FOLLOWING
    assert ("append", 4) in one.after(0.5, Missing(5, 1, 4))


def test_a_candidate_that_may_not_own_never_takes_over() -> None:
    one = One(may_own=False)
    for _ in range(20):
        assert ("append", 3) not in one.after(0.5, Missing(4, 1, 3))


def test_a_refused_fence_means_to_wait_again() -> None:
    one = One()
    one.after(1.6)
    one.after(1.4, Missing(4, 1, 3))
    assert one.candidate.role is Role.FENCING
    one.writer.batch(b"the owner lives")
    assert one.after(0.1, Refused(4)) == [("read", 4)]
    assert one.after(0.1) == [], "it is not answered yet"
    assert one.hear(one.writer.from_(4)) == [Kind.BATCH]
    one.log.take_asked()
    assert "append" not in dict(one.after(2.9, Missing(5, 1, 4)))
    assert ("append", 4) in one.after(0.2, Missing(5, 1, 4))


def test_after_an_outage_the_owner_comes_first() -> None:
    one = One()
    one.after(1.6)
    assert one.after(1.4) == [("read", 4)], "the first read was not answered for a second: the log is away"
    assert one.after(60.0) == [("read", 4)]
    assert one.candidate.role is Role.FOLLOWING
    one.after(0.1, Missing(4, 1, 3))
    assert "append" not in dict(one.after(0.9, Missing(4, 1, 3)))
    assert ("append", 3) in one.after(0.1, Missing(4, 1, 3))


def test_an_entry_ends_an_outage_too() -> None:
    one = One()
    one.after(2.0, Down("connection lost"))
    one.after(60.0)
    one.writer.batch(b"second")
    one.after(0.0, one.writer.from_(4))
    for _ in range(5):
        assert "append" not in dict(one.after(0.5, Missing(5, 1, 4)))
    one.after(0.4, Missing(5, 1, 4))
    assert "append" in dict(one.after(0.2, Missing(5, 1, 4)))


def test_a_lost_connection_is_an_outage() -> None:
    one = One()
    assert one.after(2.9, Down("connection lost")) == [("read", 4)]
    assert one.after(0.5, Up(), Missing(4, 1, 3)) == [("read", 4)]
    assert ("append", 3) in one.after(1.0, Missing(4, 1, 3))


def test_a_fence_of_unknown_outcome_is_sent_again_as_it_was() -> None:
    one = One()
    one.after(1.6)
    one.after(1.4, Missing(4, 1, 3))
    fence = one.log.data
    one.after(1.0, UNKNOWN)
    assert one.candidate.role is Role.FOLLOWING
    one.after(0.1, Missing(4, 1, 3))
    assert ("append", 3) in one.after(1.0, Missing(4, 1, 3))
    assert one.log.data == fence


def test_a_fence_that_lands_late_is_recognised() -> None:
    one = One()
    one.after(1.6)
    one.after(1.4, Missing(4, 1, 3))
    one.after(1.0, UNKNOWN)
    one.add()
    assert one.hear(one.writer.from_(4)) == []
    assert one.candidate.role is Role.OWNER


def test_a_fence_that_was_overtaken_before_its_answer_came_owns_nothing() -> None:
    one = One()
    one.after(1.6)
    one.after(1.4, Missing(4, 1, 3))
    one.add()
    one.writer.fence("b0@h3")
    assert one.hear(one.writer.from_(4)) == [Kind.FENCE]
    one.hear(Appended(4))
    assert one.candidate.role is Role.FOLLOWING
    assert one.candidate.owner_name == "b0@h3"


def test_an_append_counts_when_it_is_acknowledged() -> None:
    one = One().own()
    entry = decode_entry(5, one.append())
    assert (entry.term, entry.number, entry.payload) == (2, 2, b"mine")
    assert entry.clocks == (1_000_000, 1_700_000, 1_700_005)
    assert one.log.take_asked() == [("append", 4)]
    assert not one.candidate.settled
    with pytest.raises(BrokenInvariantError):
        one.append()
    one.now += 0.2
    assert one.candidate.under_way_s == pytest.approx(0.2)
    one.hear(Appended(one.add()))
    assert one.candidate.settled
    assert one.candidate.position == one.writer.reader.at


def test_an_append_of_unknown_outcome_is_sent_again_until_it_is_there() -> None:
    one = One().own()
    data = one.append()
    one.after(1.0, UNKNOWN)
    one.add()
    assert one.after(0.1) == [("append", 4)]
    assert one.log.data == data
    assert one.after(0.1, Refused(5)) == [("read", 5)]
    assert not one.candidate.settled
    one.hear(one.writer.from_(5))
    assert one.candidate.settled
    assert one.candidate.position == one.writer.reader.at


def test_an_append_that_is_not_there_is_sent_behind_what_is() -> None:
    """A double of an earlier entry has taken the position."""
    one = One().own()
    data = one.append()
    assert one.after(0.1, Refused(5)) == [("append", 4), ("read", 5)]
    assert one.after(0.1) == [], "it is not answered yet"
    assert one.after(0.1, Entries([(5, one.writer.entries[3])])) == [("append", 5)]
    assert one.log.data == data
    one.hear(Appended(6))
    assert one.candidate.settled


def test_a_refusal_by_an_own_straggler_is_tried_again() -> None:
    """A server refuses while an append of the same owner is on its way to the others."""
    one = One().own()
    one.append()
    one.log.take_asked()
    assert one.after(0.1, Refused(4)) == []
    assert one.after(0.1) == [("append", 4)]
    assert one.after(0.1, Refused(0)) == [("read", 5)]
    assert one.after(0.1, Missing(5, 1, 4)) == []
    assert one.after(0.1) == [("append", 4)]


def test_the_position_leaves_out_what_is_not_settled() -> None:
    """A store that is written meanwhile does not have the entry yet."""
    one = One().own()
    one.append()
    one.add()
    one.hear(one.writer.from_(5))  # delivered before the append is answered
    assert (one.candidate.settled, one.candidate.position.position) == (False, 4)
    one.hear(Appended(5))
    assert (one.candidate.settled, one.candidate.position.position) == (True, 5)


def test_the_position_leaves_out_what_a_failed_turn_has_read() -> None:
    """What it has read was not returned, and the store is written once more before the process ends."""
    one = One()
    one.writer.batch(b"second")
    with pytest.raises(ReplicaError):
        one.hear(one.writer.from_(4), Lost("no such stream"))
    assert one.candidate.position.position == 3
    one = One().own()
    one.append()
    one.add()
    one.writer.fence("b0@h2")
    one.hear(Refused(6))
    with pytest.raises(DeposedError):
        one.hear(one.writer.from_(5))
    assert one.candidate.position.position == 4


def test_a_fence_of_another_deposes_the_owner() -> None:
    one = One().own()
    one.append()
    one.writer.fence("b0@h2")
    one.writer.batch(b"of the new owner")
    one.hear(Refused(6))
    with pytest.raises(DeposedError, match="b0@h2 owns the log since entry 5"):
        one.hear(one.writer.from_(5))
    assert not one.candidate.settled


def test_an_entry_of_the_own_term_by_another_process_stops() -> None:
    one = One().own()
    one.append()
    one.writer.batch(b"not mine")
    one.hear(Refused(5))
    with pytest.raises(ReplicaError, match="of this owner's term and was written by another"):
        one.hear(one.writer.from_(5))


def test_a_full_log_is_tried_again() -> None:
    one = One().own()
    one.append()
    one.log.take_asked()
    assert one.after(0.1, Full()) == []
    assert one.candidate.full
    assert one.after(0.1) == [("append", 4)]
    one.hear(Appended(one.add()))
    assert not one.candidate.full


def test_an_owner_is_due_to_append_after_a_second() -> None:
    one = One().own()
    assert one.candidate.wait_s == pytest.approx(1.0)
    one.now += 0.9
    assert not one.candidate.heartbeat_due
    one.now += 0.1
    assert one.candidate.heartbeat_due
    assert one.log.take_asked() == [], "the caller appends, so that a caller that hangs does not"


@pytest.mark.parametrize(("to", "waits"), [("b0@h1", False), ("", False), ("b0@h3", True)])
def test_a_released_log_is_taken_at_once_by_whom_it_is_for(to: str, waits: bool) -> None:
    one = One()
    one.writer.release(to)
    one.hear(one.writer.from_(4))
    assert one.candidate.owner_name == ""
    asked = one.after(0.0, Missing(5, 1, 4))
    assert ("append" in dict(asked)) != waits


def test_a_log_whose_release_was_read_before_a_restart_is_taken_at_once() -> None:
    one = One()
    one.writer.release("b0@h3")
    log = ScriptedLog()
    again = Candidate(log, Me("b0@h1", LOG_ID, lambda: b"n", lambda: 0.0, lambda: True), one.writer.reader.at)
    assert again.owner_name == ""
    log.says.append(Missing(5, 1, 4))
    again.turn()
    assert ("append", 4) in log.asked


def test_the_owner_is_unknown_until_its_fence_is_read() -> None:
    one = One()
    assert one.candidate.owner_name == "b0@h2"
    again = Candidate(one.log, Me("b0@h1", LOG_ID, lambda: b"n", lambda: 0.0, lambda: True), one.candidate.position)
    again.turn()
    assert again.owner_name == ""


def test_who_has_released_a_log_has_ended() -> None:
    one = One().own()
    one.candidate.release("b0@h2", MARK)
    one.hear(Appended(one.add()))
    assert (one.candidate.role, one.candidate.settled) == (Role.ENDED, True)


def test_a_release_is_tried_again_where_the_log_has_no_room() -> None:
    one = One().own()
    one.candidate.release("b0@h2", MARK)
    data = one.log.data
    one.log.take_asked()
    for _ in range(3):
        assert one.after(0.1, Full()) == []
        assert one.candidate.full
        assert one.after(0.1) == [("append", 4)]
        assert one.log.data == data, "it cannot count twice"
    one.hear(Appended(one.add()))
    assert (one.candidate.role, one.candidate.settled) == (Role.ENDED, True)


def test_a_log_that_has_no_room_for_its_release_is_left_to_the_silence() -> None:
    one = One().own()
    one.candidate.release("b0@h2", MARK)
    one.log.take_asked()
    for _ in range(4):
        one.after(0.1, Full())
        assert one.after(0.1) == [("append", 4)]
    one.now += 0.3
    with pytest.raises(DeposedError, match="no room for its release"):
        one.hear(Full())


@pytest.mark.parametrize("event", [UNKNOWN, Refused(5)])
def test_who_is_unsure_of_its_release_has_ended_too(event: Event) -> None:
    one = One().own()
    one.candidate.release("b0@h2", MARK)
    with pytest.raises(DeposedError):
        one.hear(event)


def test_a_candidate_that_is_delivered_nothing_reads_and_follows_anew() -> None:
    one = One()
    assert one.after(1.5) == [("read", 4)]
    one.writer.batch(b"second")
    one.writer.batch(b"third")
    assert one.after(0.1, one.writer.from_(4)) == [("follow", 6), ("read", 6)]
    assert one.candidate.position.number == 3


def test_what_was_followed_and_is_purged_meanwhile_is_followed_anew() -> None:
    """It was read, but the delivery lags."""
    one = One()
    assert one.after(0.1, Missing(2, 3, 3)) == [("follow", 4)]


def test_a_log_that_begins_behind_the_position_needs_a_seed() -> None:
    one = One()
    with pytest.raises(ReplicaError, match="the log begins at 5, and this candidate needs 4: seed it"):
        one.hear(Missing(4, 5, 9))


def test_a_log_that_is_lost_stops() -> None:
    with pytest.raises(ReplicaError, match="no such stream"):
        One().hear(Lost("no such stream"))


def test_a_server_that_is_behind_is_borne_for_a_while() -> None:
    """One that is cut off from the others and does not know it yet."""
    one = One().own()
    one.append()
    for _ in range(14):
        one.after(0.7, Refused(2))
        one.after(0.3)
    one.hear(Appended(one.add()))
    assert one.candidate.settled
    one.append()
    one.hear(Refused(2))
    one.after(0.2)
    with pytest.raises(ReplicaError, match="the log ends at 2, and this candidate has read it up to 5: it went back"):
        one.after(15.0, Refused(2))


def test_a_server_that_is_behind_is_not_asked_again_and_again() -> None:
    one = One().own()
    one.append()
    assert one.after(0.1, Refused(7)) == [("append", 4), ("read", 5)]
    assert one.after(0.0, Missing(5, 1, 2)) == []
    assert one.after(0.05) == []
    assert one.after(0.05) == [("append", 4)]


def test_a_server_that_is_behind_now_and_then_is_no_loss() -> None:
    one = One()
    for _ in range(10):
        one.after(4.0, Missing(4, 1, 2))
        one.after(4.0, Missing(4, 1, 3))


def test_an_answer_to_no_append_is_a_broken_engine() -> None:
    with pytest.raises(BrokenInvariantError):
        One().hear(Appended(4))


def test_a_turn_takes_a_bounded_number_of_entries() -> None:
    one = One()
    for n in range(DEFAULT.turn_entries + 5):
        one.writer.batch(b"%d" % n)
    assert len(one.hear(one.writer.from_(4))) == DEFAULT.turn_entries
    assert one.candidate.wait_s == 0.0
    one.now += 9.0
    assert len(one.hear()) == 5
    assert one.candidate.role is Role.FOLLOWING


def test_what_concerns_the_caller_is_passed_on() -> None:
    one = One()
    one.own().append()
    one.hear(Purged(2), Up(), Down("why"), Refused(4), Missing(5, 1, 4))
    assert one.candidate.notices == [Purged(2), Up(), Down("why"), Refused(4)]
