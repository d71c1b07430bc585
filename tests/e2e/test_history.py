"""The checker itself: it says nothing about a good history, and something about every bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.e2e.history import History, Outcome, Publish, Subscribe, Take, violations


def good_history() -> History:
    """Two users; ann subscribes before all messages, bob after the third; the last publish is unknown."""
    history = History()
    history.subscribes += [
        Subscribe("c1", "t", 0.0, 0.5, Outcome.OK, "ann"),
        Subscribe("c2", "t", 3.9, 4.0, Outcome.OK, "bob"),
    ]
    for n in range(1, 7):
        known = n != 6
        outcome = Outcome.OK if known else Outcome.UNKNOWN
        history.publishes.append(Publish("p", "t", n + 0.1, n + 0.2, outcome, b"m%d" % n, f"e1-{n}" if known else ""))
    history.publishes.append(Publish("p", "t", 8.0, 8.1, Outcome.FAILED, b"refused", ""))
    for user, first in (("ann", 1), ("bob", 4)):
        for n in range(first, 7):
            history.takes.append(Take(user, "t", n + 10, n + 10.1, Outcome.OK, user, b"m%d" % n, f"e1-{n}"))
        history.takes.append(Take(user, "t", 20, 20.1, Outcome.OK, user))
    return history


def test_a_good_history_is_accepted() -> None:
    assert violations(good_history(), {"t"}) == []


def test_an_unknown_read_may_cost_one_message() -> None:
    history = good_history()
    history.takes[2] = replace(history.takes[2], outcome=Outcome.UNKNOWN, body=None, msg_id="")
    assert violations(history, {"t"}) == []
    del history.takes[3]
    assert "lost 2 acknowledged messages" in violations(history, {"t"})[0]


def drop_a_delivery(history: History) -> None:
    del history.takes[2]


def drop_the_last_delivery(history: History) -> None:
    del history.takes[5], history.publishes[5], history.takes[4]


def drop_a_delivery_of_an_unknown_publish(history: History) -> None:
    history.publishes[2] = replace(history.publishes[2], outcome=Outcome.UNKNOWN, msg_id="")
    del history.takes[2]


def deliver_twice(history: History) -> None:
    history.takes.insert(3, replace(history.takes[2], invoked=13.5))


def swap_two(history: History) -> None:
    one, two = history.takes[1], history.takes[2]
    history.takes[1:3] = [replace(two, invoked=one.invoked), replace(one, invoked=two.invoked)]


def deliver_what_nobody_published(history: History) -> None:
    history.takes[2] = replace(history.takes[2], body=b"foreign")


def deliver_before_it_was_published(history: History) -> None:
    history.publishes[0] = replace(history.publishes[0], invoked=15.0, done=15.1)


def deliver_what_was_refused(history: History) -> None:
    history.publishes[2] = replace(history.publishes[2], outcome=Outcome.FAILED, msg_id="")


def deliver_what_was_published_before_the_subscription(history: History) -> None:
    history.takes.append(Take("bob", "t", 13.0, 13.1, Outcome.OK, "bob", b"m3", "e1-3"))


def give_another_id(history: History) -> None:
    history.takes[2] = replace(history.takes[2], msg_id="e2-3")


def reorder_a_publisher(history: History) -> None:
    history.publishes[0] = replace(history.publishes[0], invoked=2.15)


def leave_something_queued(history: History) -> None:
    del history.takes[6]


def never_read_a_user(history: History) -> None:
    del history.takes[7:]


@pytest.mark.parametrize(
    "spoil",
    [
        drop_a_delivery,
        drop_the_last_delivery,
        drop_a_delivery_of_an_unknown_publish,
        deliver_twice,
        swap_two,
        deliver_what_nobody_published,
        deliver_before_it_was_published,
        deliver_what_was_refused,
        deliver_what_was_published_before_the_subscription,
        give_another_id,
        reorder_a_publisher,
        leave_something_queued,
        never_read_a_user,
    ],
)
def test_negative_control(spoil: Callable[[History], None]) -> None:
    history = good_history()
    spoil(history)
    assert violations(history, {"t"})
    assert violations(history, {"another topic"}) == []
