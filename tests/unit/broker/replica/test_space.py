"""What may be forgotten, and when nothing may be published: the table of `docs/replication.md`."""

from __future__ import annotations

import msgspec
import pytest

from broker.replica.space import DEFAULT, Report, Space

ME, OTHER = "b0@h1", "b0@h2"
KEPT = DEFAULT.keep_s + 1
"""A moment at which the entries of the beginning need not be kept any more."""


def space(now: float = 0.0) -> Space:
    return Space((OTHER,), now)


def hear(of: Space, now: float, *, stored: int, room: int = 1000, process: bytes = b"p", name: str = OTHER) -> None:
    of.hear(msgspec.msgpack.encode(Report(name, process, stored + 2, stored, room)), now)


def test_what_every_candidate_has_is_forgotten_when_it_is_old() -> None:
    it = space()
    it.sample(50, 0.0)
    it.sample(80, KEPT)
    hear(it, KEPT, stored=70)
    assert it.floor(90, KEPT - 2) == 0
    assert it.floor(90, KEPT) == 50
    assert it.floor(40, KEPT) == 40


def test_the_history_of_positions_does_not_grow_at_a_candidate_that_never_purges() -> None:
    it = space()
    for second in range(0, int(3 * DEFAULT.keep_s), int(DEFAULT.sampled_s)):
        it.sample(second, float(second))
    assert len(it._samples) <= DEFAULT.keep_s / DEFAULT.sampled_s + 2
    hear(it, 3 * DEFAULT.keep_s, stored=10_000)
    assert it.floor(10_000, 3 * DEFAULT.keep_s) == pytest.approx(2 * DEFAULT.keep_s, abs=2 * DEFAULT.sampled_s)


def test_from_thirty_percent_on_it_is_forgotten_at_once() -> None:
    it = space()
    hear(it, 1.0, stored=70)
    it.used = 29
    assert it.floor(90, 1.0) == 0
    it.used = 30
    assert it.floor(90, 1.0) == 70
    assert it.floor(60, 1.0) == 60


def test_a_candidate_that_is_away_is_waited_for_up_to_half_of_the_log() -> None:
    it, later = space(), 10 + DEFAULT.away_s
    hear(it, 1.0, stored=70)
    it.used = 49
    assert it.floor(90, later) == 70
    it.used = 50
    assert it.floor(90, 2.0) == 70, "it is not away"
    assert it.floor(90, later) == 90
    hear(it, later, stored=70)
    assert it.floor(90, later) == 70, "it is back"


def test_one_that_was_never_heard_of_is_waited_for_likewise() -> None:
    it = space()
    it.used = 30
    assert it.floor(90, 100.0) == 0
    it.used = 50
    assert it.floor(90, DEFAULT.away_s) == 0
    assert it.floor(90, DEFAULT.away_s + 1) == 90


def test_positions_grow_within_a_process_and_a_new_one_begins_anew() -> None:
    """The report of a process may be late; a candidate that has lost its store has another process."""
    it = space()
    it.used = 30
    hear(it, 1.0, stored=70)
    hear(it, 2.0, stored=60)
    assert it.floor(90, 2.0) == 70
    hear(it, 3.0, stored=10, process=b"q")
    assert it.floor(90, 3.0) == 10


def test_the_fullest_disk_of_those_that_follow_counts() -> None:
    it = space()
    assert it.room(500, 0.0) == 500
    hear(it, 1.0, stored=1, room=100)
    assert (it.room(500, 1.0), it.room(50, 1.0)) == (100, 50)
    assert it.room(500, 2 + DEFAULT.away_s) == 500


def test_a_lone_owner_is_told_of_after_a_while() -> None:
    it = space()
    assert not it.one_copy(1.0)
    assert it.one_copy(1 + DEFAULT.away_s)
    hear(it, 20.0, stored=1)
    assert not it.one_copy(20.0)
    assert it.successor(20.0) == OTHER
    assert (it.one_copy(50.0), it.successor(50.0)) == (True, "")


def test_the_greatest_position_that_was_reported_is_remembered() -> None:
    it = space()
    assert it.known_position == 0
    hear(it, 1.0, stored=70)
    assert it.known_position == 72
    hear(it, 2.0, stored=50, process=b"after a restart")
    assert it.known_position == 72


@pytest.mark.parametrize("data", [b"", b"junk", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode({"a": 1})])
def test_what_is_no_report_is_ignored(data: bytes) -> None:
    it = space()
    it.hear(data, 1.0)
    hear(it, 1.0, stored=1, name="b1@h1")
    assert it.reports(1.0) == []


def test_nothing_is_published_from_eighty_percent_on() -> None:
    it = space()
    it.used = 79
    assert not it.refuses
    it.used = 80
    assert it.refuses


def test_a_candidate_that_dies_at_each_start_is_away() -> None:
    it, later = space(), DEFAULT.away_s + 2
    hear(it, 1.0, stored=70)
    for number, now in enumerate((5.0, 10.0, later)):
        hear(it, now, stored=70, process=b"%d" % number)
    assert it.one_copy(later)
    hear(it, later, stored=71, process=b"4")
    assert not it.one_copy(later), "one that gets on is there"


def test_what_a_process_could_not_hear_while_it_was_stopped_is_not_held_against_the_others() -> None:
    it, later = space(), 1.0 + 10 * DEFAULT.away_s
    hear(it, 1.0, stored=70)
    it.used = 99
    assert it.floor(90, later) == 90
    it.slept(later - 1.0)
    assert it.floor(90, later) == 70


def test_a_full_log_is_forgotten_as_far_as_all_have_it_whatever_its_share_of_the_maximum() -> None:
    it = space()
    hear(it, 1.0, stored=70)
    assert it.floor(90, 1.0) == 0
    assert it.floor(90, 1.0, prompt=True) == 70
    assert it.floor(90, 1.0 + 2 * DEFAULT.away_s, prompt=True) == 70, "one that is away is waited for up to half"
