"""How requests and replies to one peer are divided into messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.reply import Outgoing
from common.protocol.grouping import group_messages
from common.protocol.wire import MAX_PACKED, MAX_REQUESTS


def small(number: int, size: int = 10) -> Outgoing:
    return Outgoing(b"%06d" % number + bytes(size - 6))


def test_small_replies_travel_together_and_a_large_body_alone() -> None:
    large = Outgoing(b"large", b"body")
    groups = list(group_messages([small(1), large, small(2), large]))
    assert sorted(map(len, groups)) == [1, 1, 2]
    assert [small(1), small(2)] in groups
    assert groups.count([large]) == 2


def test_a_large_body_overtakes_nothing_where_the_order_counts() -> None:
    large = Outgoing(b"large", b"body")
    given = [small(1), small(2), large, large, small(3)]
    assert list(group_messages(given, in_order=True)) == [given[:2], [large], [large], given[4:]]


def test_no_replies_make_no_message() -> None:
    assert list(group_messages([])) == []


def test_a_message_has_a_limited_number_of_replies() -> None:
    groups = list(group_messages([small(n) for n in range(MAX_REQUESTS + 1)]))
    assert [len(group) for group in groups] == [MAX_REQUESTS, 1]


def test_a_message_is_closed_where_the_next_reply_would_make_it_too_long() -> None:
    third = MAX_PACKED // 3
    groups = list(group_messages([small(n, third) for n in range(3)] + [small(9)]))
    assert [len(group) for group in groups] == [3, 1]
    groups = list(group_messages([small(1, MAX_PACKED + 1), small(2)]))
    assert [len(group) for group in groups] == [1, 1], "one that is too long by itself goes alone"


@given(st.lists(st.tuples(st.integers(6, MAX_PACKED), st.booleans()), max_size=200))
def test_every_reply_leaves_once_within_the_bounds(shapes: list[tuple[int, bool]]) -> None:
    replies = [Outgoing(b"%06d" % n, b"body") if large else small(n, size) for n, (size, large) in enumerate(shapes)]
    groups = list(group_messages(replies))
    assert sorted(each.packed for group in groups for each in group) == sorted(each.packed for each in replies)
    for group in groups:
        assert 1 <= len(group) <= MAX_REQUESTS
        assert len(group) == 1 or not any(each.body for each in group)
        assert len(group) == 1 or sum(len(each.packed) for each in group) <= MAX_PACKED
    together = [each.packed for group in groups for each in group if each.body is None]
    assert together == sorted(together), "small ones keep their order"
