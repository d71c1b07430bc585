"""What a read has sent and its client has not confirmed."""

from __future__ import annotations

from common.protocol.ops import Receipt
from httpfront.sessions.window import CursorWindow, LeaseWindow

EPOCH, NEXT_EPOCH = "0badcafe1", "0badcafe2"


def test_a_cursor_confirms_what_is_up_to_it() -> None:
    window = CursorWindow(5, 100)
    window.add([1, 2, 5], [10, 20, 30])
    window.add([6], [1])
    assert window.room() == (1, 39)
    for cursor, room in ((0, (1, 39)), (4, (3, 69)), (4, (3, 69)), (5, (4, 99)), (99, (5, 100))):
        window.confirm(cursor)
        assert window.room() == room


def test_a_receipt_of_another_delivery_or_life_makes_no_room() -> None:
    window = LeaseWindow(5, 100)
    window.add(EPOCH, [1, 2], [1, 3], [10, 20], 9.0)
    others = [Receipt(EPOCH, 1, 2), Receipt(EPOCH, 2, 1), Receipt(NEXT_EPOCH, 1, 1), Receipt(EPOCH, 3, 1)]
    window.remove(others)
    for each in others:
        window.extend(each, 99.0)
    assert window.room() == (3, 70)
    window.remove([Receipt(EPOCH, 2, 3), Receipt(EPOCH, 2, 3)])
    assert window.room() == (4, 90)
    window.drop_expired(9.0)
    assert window.room() == (5, 100)


def test_a_message_that_is_delivered_again_counts_once() -> None:
    window = LeaseWindow(5, 100)
    window.add(EPOCH, [1, 2], [1, 1], [10, 20], 9.0)
    window.add(EPOCH, [2, 3], [2, 1], [20, 30], 19.0)
    assert window.room() == (2, 40)
    window.drop_expired(9.0)
    assert window.room() == (3, 50)
    assert window.take_all() == [Receipt(EPOCH, 2, 2), Receipt(EPOCH, 3, 1)]
    assert window.room() == (5, 100)


def test_leases_end_with_the_life_of_their_topic() -> None:
    window = LeaseWindow(5, 100)
    window.add(EPOCH, [1, 2], [1, 1], [10, 20], 9.0)
    window.add(NEXT_EPOCH, [2], [1], [5], 9.0)
    assert window.room() == (4, 95)
    assert window.take_all() == [Receipt(NEXT_EPOCH, 2, 1)]


def test_what_the_broker_was_not_told_is_over_once_something_later_is_confirmed() -> None:
    window = CursorWindow(3)
    window.add([1, 2, 3], [1, 1, 1])
    window.unconfirmed = ("e", 2)
    window.confirm(1)
    assert window.unconfirmed == ("e", 2)
    window.confirm(3)
    assert window.unconfirmed is None
