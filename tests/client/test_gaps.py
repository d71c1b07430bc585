"""The detection of gaps in message ids."""

from __future__ import annotations

import pytest

from fanmail.gaps import MAX_LISTED_GAPS, GapDetector


def seen(*ids: str) -> GapDetector:
    found = GapDetector()
    for each in ids:
        found.add(each)
    return found


def test_ids_that_follow_each_other_are_whole() -> None:
    found = seen("e-5", "e-6", "e-7")
    assert (found.whole, found.count, found.gaps) == (True, 3, [])
    assert str(found) == "3 messages from e-5 to e-7: nothing is missing"


def test_repeats_are_allowed() -> None:
    found = seen("e-5", "e-6", "e-5", "e-6", "e-7")
    assert (found.whole, found.count, found.repeats) == (True, 3, 2)


def test_gaps_are_named() -> None:
    found = seen("e-1", "e-3", "e-7")
    assert (found.whole, found.missing, found.gaps) == (False, 4, ["e-2", "e-4 to e-6"])
    assert "4 missing (e-2, e-4 to e-6)" in str(found)


def test_a_new_life_of_the_topic_is_a_loss() -> None:
    found = seen("e-1", "f-1")
    assert (found.whole, found.lives, found.count) == (False, 2, 2)


def test_gaps_without_end_do_not_fill_the_memory() -> None:
    found = seen(*[f"e-{2 * n}" for n in range(1, 1000)])
    assert (found.missing, len(found.gaps)) == (998, MAX_LISTED_GAPS)


def test_nothing_is_whole_and_says_so() -> None:
    assert seen().whole
    assert str(seen()) == "no message arrived"


@pytest.mark.parametrize("text", ["", "7", "e-", "-7", "e-x", "e-\u0667"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        seen(text)
