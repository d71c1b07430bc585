"""The checker itself: it accepts a good history, and objects to every bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.e2e.checker import Aside, violations
from tests.e2e.history import Ack, History, Mode, Outcome, Publish, Subscribe, Take, Unsubscribe
from tests.support.table import table

OK, FAILED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN


def good_history() -> History:
    """Return a good history with users of every mode.

    ann (plain), cat (after) and dan (lease) subscribe before all messages, bob after the third. m4 and m5 are a batch.
    The outcome of publishing m6 is unknown, and it was stored. cat asks twice for m2, dan gets m3 twice.
    """
    history = History()
    for user, at in (("ann", 0.0), ("bob", 3.9), ("cat", 0.0), ("dan", 0.0)):
        history.subscribes.append(Subscribe(user, "t", at, at + 0.1, OK, user))
    for n in (1, 2, 3):
        history.publishes.append(Publish("p", "t", n + 0.1, n + 0.2, OK, b"m%d" % n, f"e1-{n}"))
    history.publishes.append(Publish("p", "t", 4.1, 4.2, OK, b"", "e1-4", (b"m4", b"m5"), "key"))
    history.publishes.append(Publish("p", "t", 6.1, 6.2, UNKNOWN, b"m6"))
    history.publishes.append(Publish("p", "t", 8.0, 8.1, FAILED, b"refused"))
    for user, first in (("ann", 1), ("bob", 4)):
        for n in range(first, 7):
            history.takes.append(take(user, n, n + 10.0))
        history.takes.append(take(user, 0, 20.0))
    for at, (n, cursor) in enumerate([(1, 0), (2, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (0, 6)]):
        history.takes.append(take("cat", n, 10.0 + at, Mode.AFTER, cursor=f"e1-{cursor}" if cursor else "0"))
    for at, (n, attempt) in enumerate([(1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (5, 1), (6, 1), (0, 1)]):
        history.takes.append(take("dan", n, 10.0 + at, Mode.LEASE, attempt))
        if n and (n, attempt) != (3, 1):
            ids = (f"e1-{n}",)
            history.acks.append(Ack("dan", "t", 10.3 + at, 10.4 + at, OK, "dan", ids, ids))
    return history


def take(user: str, n: int, at: float, mode: Mode = Mode.PLAIN, attempt: int = 1, cursor: str = "") -> Take:
    """Return a read of message `n`; 0: of nothing."""
    body, msg_id = (b"m%d" % n, f"e1-{n}") if n else (None, "")
    return Take(user, "t", at, at + 0.1, OK, user, body, msg_id, mode, attempt, cursor)


def place(history: History, user: str, n: int, nth: int = 0) -> int:
    """Return where a user's nth read of message `n` is recorded."""
    found = [
        k for k, each in enumerate(history.takes) if each.user == user and each.body == (b"m%d" % n if n else None)
    ]
    return found[nth]


def change(history: History, user: str, n: int, nth: int = 0, **changes: object) -> None:
    k = place(history, user, n, nth)
    history.takes[k] = replace(history.takes[k], **changes)  # type: ignore[arg-type]


def lose_ack(history: History, n: int, **changes: object) -> None:
    k = next(k for k, each in enumerate(history.acks) if each.tried == (f"e1-{n}",))
    history.acks[k] = replace(history.acks[k], confirmed=(), **changes)  # type: ignore[arg-type]


def test_a_good_history_is_accepted() -> None:
    assert violations(good_history(), {"t"}) == []


def test_an_unknown_read_may_cost_one_message() -> None:
    history = good_history()
    change(history, "ann", 3, outcome=UNKNOWN, body=None, msg_id="")
    assert violations(history, {"t"}) == []
    del history.takes[place(history, "ann", 4)]
    assert "lost 2 acknowledged messages" in violations(history, {"t"})[0]


def test_an_unknown_read_of_many_may_cost_as_many() -> None:
    history = good_history()
    change(history, "ann", 3, outcome=UNKNOWN, body=None, msg_id="", most=2)
    del history.takes[place(history, "ann", 4)]
    assert violations(history, {"t"}) == []


def timed_history() -> History:
    """Return a history in which cat reads by streams with timed `confirm`, and was told that m3 was missed."""
    history = good_history()
    history.takes[:] = [replace(each, mode=Mode.TIMED) if each.user == "cat" else each for each in history.takes]
    change(history, "cat", 3, body=None, msg_id="", gap=range(3, 4))
    return history


def test_what_a_stream_announces_may_be_lost_and_nothing_else() -> None:
    history = timed_history()
    assert violations(history, {"t"}) == []
    del history.takes[place(history, "cat", 4)]
    assert "passed over" in "\n".join(violations(history, {"t"}))
    history = timed_history()
    history.takes.insert(place(history, "cat", 4), take("cat", 3, 13.5, Mode.TIMED, cursor="e1-2"))
    assert "which was announced as missed" in "\n".join(violations(history, {"t"}))
    history = timed_history()
    history.takes[:] = [replace(each, mode=Mode.AFTER) if each.user == "cat" else each for each in history.takes]
    assert "told of a gap of 1, and confirms by itself" in "\n".join(violations(history, {"t"}))


def test_what_was_dropped_with_a_reason_and_what_is_queued_is_not_lost() -> None:
    history = good_history()
    del history.takes[place(history, "ann", 3)]
    assert violations(history, {"t"})
    assert violations(history, {"t"}, Aside(dropped={("t", "ann"): 1})) == []
    assert violations(history, {"t"}, Aside(queued={("t", "ann"): [b"m3"]})) == []
    assert violations(history, {"t"}, Aside(queued={("t", "ann"): [b"m3", b"foreign"]}))


def test_what_has_expired_need_not_come_nor_come_again() -> None:
    history = good_history()
    del history.takes[place(history, "ann", 3)]
    forget_a_lease(history)
    assert len(violations(history, {"t"})) == 3
    assert violations(history, {"t"}, Aside(expired={("t", b"m3"): 1})) == []
    assert violations(history, {"t"}, Aside(expired={("t", b"m2"): 1}))


def test_what_is_found_in_a_dead_list_need_not_come_again() -> None:
    history = good_history()
    forget_a_lease(history)
    assert "did not get 1 unacknowledged messages again" in violations(history, {"t"})[0]
    assert violations(history, {"t"}, Aside(queued={("t", "dan"): [b"m3"]})) == []


def test_what_is_queued_and_of_no_known_id_is_no_hole() -> None:
    history = good_history()
    drop_a_delivery_of_an_unknown_publish(history)
    for user in ("cat", "dan"):
        history.takes[:] = [each for each in history.takes if each.user != user]
        history.subscribes[:] = [each for each in history.subscribes if each.user != user]
    history.acks.clear()
    assert "1 holes" in violations(history, {"t"})[0]
    assert violations(history, {"t"}, Aside(queued={("t", "ann"): [b"m3"]})) == []


def test_what_was_on_its_way_to_who_unsubscribed_may_be_missing() -> None:
    history = good_history()
    lose_a_lease_at_an_unknown_read(history)
    history.unsubscribes.append(Unsubscribe("dan", "t", 19.0, 19.1, OK, "dan"))
    assert violations(history, {"t"}) == []
    del history.takes[place(history, "dan", 4)]
    assert "holes" in violations(history, {"t"})[0]


def test_each_life_of_a_topic_counts_anew() -> None:
    history = History()
    for n, epoch in ((2, "e1"), (1, "e2")):
        history.publishes.append(Publish("p", "t", 10.0 - n, 10.1 - n, OK, b"m%d" % n, f"{epoch}-{n}"))
    assert violations(history, {"t"}) == []
    history.publishes[1] = replace(history.publishes[1], msg_id="e1-1")
    assert "the log disagrees" in violations(history, {"t"})[0]


def test_who_unsubscribed_leaves_what_he_had_not_read() -> None:
    history = good_history()
    history.takes[:] = [each for each in history.takes if each.user != "ann" or (each.body or b"m9") < b"m4"]
    assert violations(history, {"t"})
    history.unsubscribes.append(Unsubscribe("ann", "t", 19.0, 19.1, OK, "ann"))
    assert violations(history, {"t"}) == []
    del history.takes[place(history, "ann", 2)]
    assert "holes" in violations(history, {"t"})[0]


def test_an_acknowledgement_whose_outcome_is_unknown_is_enough() -> None:
    history = good_history()
    lose_ack(history, 5, outcome=UNKNOWN)
    assert violations(history, {"t"}) == []


def drop_a_delivery(history: History) -> None:
    del history.takes[place(history, "ann", 3)]


def drop_the_last_delivery(history: History) -> None:
    history.publishes[4] = replace(history.publishes[4], outcome=OK, msg_id="e1-6")
    del history.takes[place(history, "ann", 6)]


def drop_a_delivery_of_an_unknown_publish(history: History) -> None:
    history.publishes[2] = replace(history.publishes[2], outcome=UNKNOWN, msg_id="")
    del history.takes[place(history, "ann", 3)]


def drop_one_of_a_batch(history: History) -> None:
    del history.takes[place(history, "bob", 5)]


def deliver_twice(history: History) -> None:
    history.takes.insert(3, take("ann", 3, 13.5))


def swap_two(history: History) -> None:
    change(history, "ann", 2, invoked=13.0)
    change(history, "ann", 3, invoked=12.0)


def deliver_what_nobody_published(history: History) -> None:
    change(history, "ann", 3, body=b"foreign")


def deliver_before_it_was_published(history: History) -> None:
    history.publishes[0] = replace(history.publishes[0], invoked=15.0, done=15.1)


def deliver_what_was_refused(history: History) -> None:
    history.publishes[2] = replace(history.publishes[2], outcome=FAILED, msg_id="")


def deliver_what_was_published_before_the_subscription(history: History) -> None:
    history.takes.append(take("bob", 3, 13.0))


def give_another_id(history: History) -> None:
    change(history, "ann", 3, msg_id="e2-3")


def store_a_keyed_publish_twice(history: History) -> None:
    history.takes.insert(place(history, "ann", 0), replace(take("ann", 4, 17.0), msg_id="e1-7"))


def give_an_id_twice(history: History) -> None:
    history.publishes.append(Publish("q", "t", 6.0, 6.1, OK, b"m7", "e1-3"))


def begin_another_life(history: History) -> None:
    history.publishes[2] = replace(history.publishes[2], msg_id="e2-3")
    for user in ("ann", "cat", "dan"):
        change(history, user, 3, msg_id="e2-3")


def reorder_a_publisher(history: History) -> None:
    history.publishes[0] = replace(history.publishes[0], invoked=2.15)


def leave_something_queued(history: History) -> None:
    del history.takes[place(history, "ann", 0)]


def never_read_a_user(history: History) -> None:
    history.takes[:] = [each for each in history.takes if each.user != "bob"]


def read_without_a_subscription(history: History) -> None:
    del history.subscribes[1]


def repeat_what_a_cursor_confirmed(history: History) -> None:
    history.takes.insert(place(history, "cat", 3), take("cat", 2, 12.5, Mode.AFTER, cursor="e1-2"))


def repeat_what_an_earlier_cursor_confirmed(history: History) -> None:
    history.takes.append(take("cat", 2, 13.5, Mode.AFTER, cursor="0"))


def pass_over_one_for_a_cursor(history: History) -> None:
    del history.takes[place(history, "cat", 4)]


def swap_two_of_one_answer(history: History) -> None:
    change(history, "cat", 5, cursor="e1-3", invoked=14.0)
    change(history, "cat", 4, cursor="e1-3", invoked=14.0)
    k, m = place(history, "cat", 4), place(history, "cat", 5)
    history.takes[k], history.takes[m] = history.takes[m], history.takes[k]


def lose_one_of_a_cursor_at_an_unknown_read(history: History) -> None:
    """Lose a message, which an unknown read by cursor, unlike a plain GET, must not do."""
    change(history, "cat", 1, outcome=UNKNOWN, body=None, msg_id="")


def repeat_a_lease_as_the_same_attempt(history: History) -> None:
    change(history, "dan", 3, nth=1, attempt=1)


def repeat_a_lease_with_a_smaller_attempt(history: History) -> None:
    change(history, "dan", 3, nth=0, attempt=3)


def repeat_what_was_acknowledged(history: History) -> None:
    history.takes.append(take("dan", 2, 15.5, Mode.LEASE, attempt=2))


def hand_out_first_leases_out_of_order(history: History) -> None:
    change(history, "dan", 1, invoked=11.5)
    history.acks = [each for each in history.acks if each.tried != ("e1-1",)]
    history.acks.append(Ack("dan", "t", 12.0, 12.1, OK, "dan", ("e1-1",), ("e1-1",)))


def forget_a_lease(history: History) -> None:
    """Leave a message unacknowledged that is not delivered again."""
    del history.takes[place(history, "dan", 3, nth=1)]
    history.acks = [each for each in history.acks if each.tried != ("e1-3",)]


def forget_what_was_refused_to_be_acknowledged(history: History) -> None:
    lose_ack(history, 5, outcome=FAILED)


def lose_a_lease_at_an_unknown_read(history: History) -> None:
    change(history, "dan", 5, outcome=UNKNOWN, body=None, msg_id="")


SPOILERS: dict[Callable[[History], None], str] = {
    drop_a_delivery: "lost 1 acknowledged",
    drop_the_last_delivery: "lost 1 acknowledged",
    drop_a_delivery_of_an_unknown_publish: "1 holes",
    drop_one_of_a_batch: "lost 1 acknowledged",
    deliver_twice: "b'm3' twice",
    swap_two: "not in the order of the log",
    deliver_what_nobody_published: "nobody had published",
    deliver_before_it_was_published: "nobody had published",
    deliver_what_was_refused: "refused as not executed",
    deliver_what_was_published_before_the_subscription: "before the subscription",
    give_another_id: "to others",
    store_a_keyed_publish_twice: "b'm4' of t is e1-7, and was e1-4",
    give_an_id_twice: "e1-3 of t is b'm7', and was b'm3'",
    begin_another_life: "2 lives",
    reorder_a_publisher: "the log disagrees",
    leave_something_queued: "not read to the end",
    never_read_a_user: "never read",
    read_without_a_subscription: "without a subscription",
    repeat_what_a_cursor_confirmed: "which was confirmed",
    repeat_what_an_earlier_cursor_confirmed: "which was confirmed",
    pass_over_one_for_a_cursor: "passed over",
    swap_two_of_one_answer: "in one answer",
    lose_one_of_a_cursor_at_an_unknown_read: "cat of t lost 1",
    repeat_a_lease_as_the_same_attempt: "again as attempt 1, after 1",
    repeat_a_lease_with_a_smaller_attempt: "again as attempt 2, after 3",
    repeat_what_was_acknowledged: "after it was acknowledged",
    hand_out_first_leases_out_of_order: "not in the log's order",
    forget_a_lease: "did not get 1 unacknowledged messages again",
    forget_what_was_refused_to_be_acknowledged: "did not get 1 unacknowledged messages again",
    lose_a_lease_at_an_unknown_read: "dan of t lost 1",
}
"""Each with what the checker says of it."""


@table("spoil", SPOILERS)
def test_negative_control(spoil: Callable[[History], None]) -> None:
    history = good_history()
    spoil(history)
    assert SPOILERS[spoil] in "\n".join(violations(history, {"t"}))
    assert violations(history, {"another topic"}) == []
