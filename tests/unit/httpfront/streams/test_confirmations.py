"""When a message of a stream is done: long enough after it was delivered, in order, in bounded memory."""

from __future__ import annotations

from httpfront.streams.confirmations import MARKS, Confirmations


def test_what_was_delivered_long_enough_ago_is_done() -> None:
    written = Confirmations(30)
    written.add(100, 1000, 5)
    written.add(110, 2000, 9)
    assert written.due == 130
    assert written.take_done(129.9, 2000) == 0
    assert written.take_done(130, 2000) == 5
    assert written.take_done(139, 2000) == 0
    assert written.take_done(140, 2000) == 9
    assert written.due is None


def test_what_is_not_delivered_is_not_done_nor_is_what_follows_it() -> None:
    written = Confirmations(1)
    written.add(100, 1000, 5)
    written.add(102, 2000, 9)
    assert written.take_done(200, 999) == 0
    assert written.take_done(200, 1999) == 5
    assert written.take_done(200, 2000) == 9


def test_zero_is_done_when_written() -> None:
    written = Confirmations(0)
    written.add(100, 1000, 5)
    assert written.take_done(100, 999) == 0
    assert written.take_done(100, 1000) == 5


def test_a_stream_that_never_pauses_holds_few_marks_and_confirms_all_along() -> None:
    written, done = Confirmations(30), 0
    for n in range(1, 100_000):
        now = n / 100
        written.add(now, n, n)
        done = written.take_done(now, n) or done
        assert len(written._marks) <= MARKS + 2
    assert 1000 - 30 - 2 <= done / 100 <= 1000 - 30
