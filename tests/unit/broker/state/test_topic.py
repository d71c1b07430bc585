"""The log of a topic: what is freed when, what it costs, and that one body is one object."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from broker.records import Payload
from broker.state.topic import Topic
from broker.state.topic_settings import TopicSettings
from broker.thresholds import DEFAULT
from tests.support.counting import calls_of
from tests.support.driver import BrokerDriver
from tests.support.snapshot import topic_snapshot


def log_with(messages: int, **positions: int) -> Topic:
    """A topic whose users are at these positions, after this many messages from 1 on."""
    topic = Topic(b"t", 1, "e1", 1, TopicSettings())
    for user in positions:
        topic.set_position(user.encode(), 1)
    for number in range(1, messages + 1):
        topic.append(number, Payload(b"", b"%d" % number))
    for user, position in positions.items():
        topic.set_position(user.encode(), position)
    return topic


def list_length(topic: Topic) -> int:
    return sum(len(block.pieces) for block in topic._blocks)


# --- what is stored


def test_a_message_is_stored_until_the_last_reader_has_passed_it() -> None:
    topic = log_with(3, alice=1, bob=1)
    assert topic.set_position(b"alice", 2) == 0
    assert topic.messages == 3
    assert topic.set_position(b"bob", 2) == 1
    assert (topic.messages, topic.head_seq, topic.bytes) == (2, 2, 2)


def test_a_new_subscription_stands_behind_what_is_there() -> None:
    topic = log_with(3, alice=1)
    topic.set_position(b"bob", topic.next_seq)
    assert topic.tail_readers == 1
    topic.append(4, Payload(b"", b"4"))
    assert topic.tail_readers == 0
    assert [topic.piece(seq).readers for seq in range(1, 5)] == [1, 0, 0, 1]


def test_a_reader_who_leaves_in_the_middle_frees_nothing() -> None:
    topic = log_with(5, alice=1, bob=3)
    assert topic.remove(b"bob") == 0
    assert topic.messages == 5


def test_the_slowest_reader_who_leaves_frees_up_to_the_next_one() -> None:
    topic = log_with(5, alice=1, bob=4)
    assert topic.remove(b"alice") == 3
    assert (topic.head_seq, topic.messages) == (4, 2)
    assert topic.remove(b"bob") == 2
    assert (topic.head_seq, topic.messages, topic.bytes) == (6, 0, 0)


def test_a_jump_over_many_messages_frees_them_all() -> None:
    topic = log_with(1000, alice=1)
    assert topic.set_position(b"alice", 1001) == 1000
    assert (topic.messages, topic.tail_readers, list_length(topic)) == (0, 1, 0)


def test_a_move_to_the_same_place_frees_nothing() -> None:
    topic = log_with(5, alice=1)
    assert topic.set_position(b"alice", 1) == 0
    assert topic.piece(1).readers == 1
    topic.set_position(b"alice", 6)
    assert topic.set_position(b"alice", 6) == 0
    assert topic.tail_readers == 1


def test_numbers_go_on_after_the_log_was_empty() -> None:
    topic = log_with(3, alice=4)
    topic.append(4, Payload(b"h", b"4"))
    assert (topic.head_seq, topic.next_seq) == (4, 5)
    assert topic.piece(4).body == b"4"
    assert topic.bytes == 2


def test_a_life_can_begin_in_the_middle_of_the_numbers() -> None:
    topic = Topic(b"t", 9, "e9", 500, TopicSettings())
    topic.append(1, Payload(b"", b"five hundred"))
    topic.set_position(b"alice", 500)
    assert topic.piece(500).readers == 1
    assert topic.set_position(b"alice", 501) == 1


# --- the list behind it


def test_freed_places_are_given_back_once_they_are_half_of_the_list() -> None:
    topic = log_with(4 * DEFAULT.compact, alice=1)
    for position in range(2, 2 * DEFAULT.compact + 1):
        topic.set_position(b"alice", position)
        assert list_length(topic) == 4 * DEFAULT.compact
    topic.set_position(b"alice", 2 * DEFAULT.compact + 1)
    assert list_length(topic) == topic.messages == 2 * DEFAULT.compact
    assert topic.piece(4 * DEFAULT.compact).body == b"%d" % (4 * DEFAULT.compact)


def test_few_freed_places_are_not_worth_a_copy() -> None:
    topic = log_with(DEFAULT.compact, alice=1)
    topic.set_position(b"alice", DEFAULT.compact)
    assert (topic.messages, list_length(topic)) == (1, DEFAULT.compact)
    topic.set_position(b"alice", DEFAULT.compact + 1)
    assert list_length(topic) == 0


def test_a_freed_message_lets_go_of_its_body_at_once() -> None:
    topic = Topic(b"t", 1, "e1", 1, TopicSettings())
    topic.set_position(b"alice", 1)
    body = bytes(1000) + b"!"
    before = sys.getrefcount(body)
    topic.append(1, Payload(b"", body))
    topic.append(2, Payload(b"", b"next"))
    assert sys.getrefcount(body) == before + 1
    topic.set_position(b"alice", 2)
    assert sys.getrefcount(body) == before


def test_a_log_that_never_runs_empty_stays_as_long_as_what_is_alive() -> None:
    topic = log_with(10, alice=1)
    for number in range(11, 50_000):
        topic.append(number, Payload(b"", b"x"))
        topic.set_position(b"alice", number - 9)
        assert topic.messages == 10
        assert list_length(topic) <= 2 * DEFAULT.compact + 11


def test_fifty_thousand_messages_and_readers_at_random_places() -> None:
    rng = random.Random(7)
    users = [b"u%d" % n for n in range(20)]
    topic = log_with(50_000, **{user.decode(): 1 for user in users})
    stored = topic.messages
    for step in range(3000):
        user = rng.choice(users)
        here = topic.subscriptions[user].position
        stored -= topic.set_position(user, min(topic.next_seq, here + rng.choice([1, 2, 50, 400])))
        assert topic.messages == stored
        assert topic.head_seq == min(each.position for each in topic.subscriptions.values())
        if step % 500 == 0:
            assert topic.piece(topic.head_seq).body == b"%d" % topic.head_seq
    assert 0 < stored < 50_000
    positions = [each.position for each in topic.subscriptions.values()]
    pieces = list(topic.pieces(topic.head_seq))
    assert [piece.first for piece in pieces] == list(range(topic.head_seq, topic.next_seq))
    assert [piece.readers for piece in pieces] == [positions.count(piece.first) for piece in pieces]
    assert topic.bytes == sum(len(piece.body) for piece in pieces)


def test_the_snapshot_of_a_log_does_not_depend_on_how_it_was_compacted() -> None:
    long_way, short_way = log_with(500, alice=1), Topic(b"t", 1, "e1", 400, TopicSettings())
    for position in range(2, 401):
        long_way.set_position(b"alice", position)
    for number in range(400, 501):
        short_way.append(number, Payload(b"", b"%d" % number))
    short_way.set_position(b"alice", 400)
    assert topic_snapshot(long_way) == topic_snapshot(short_way)


# --- one body


@pytest.mark.parametrize("size", [100, 20_000])
def test_one_body_is_stored_however_many_subscribers_there_are(broker: BrokerDriver, size: int) -> None:
    users = [b"user%d" % n for n in range(300)]
    for user in users:
        broker.subscribe(b"t", user)
    broker.publish(b"t", b"x" * size)
    stored = broker.state.topics[b"t"].piece(1).body
    assert broker.state.content_bytes == size
    for user in users[:-1]:
        assert broker.take(b"t", user).result.body == stored
        assert broker.state.topics[b"t"].piece(1).body is stored
        assert broker.state.content_bytes == size
    broker.take(b"t", users[-1])
    assert broker.state.content_bytes == 0


# --- what it costs


def crowd(size: int, messages: int = 0) -> BrokerDriver:
    broker = BrokerDriver()
    for number in range(size):
        broker.subscribe(b"t", b"user%d" % number)
    for number in range(messages):
        broker.publish(b"t", b"%d" % number)
    return broker


def test_publishing_does_the_same_work_for_one_and_for_ten_thousand_subscribers() -> None:
    few, many = crowd(1), crowd(10_000)
    few.publish(b"t", b"warm")
    many.publish(b"t", b"warm")
    assert calls_of(many.publish, b"t", b"x") == calls_of(few.publish, b"t", b"x") < 200


def test_publishing_touches_no_subscription() -> None:
    broker = crowd(100)

    class Untouchable(dict[bytes, Any]):
        def __iter__(self) -> Any:
            raise AssertionError("publish walks over the subscriptions")

        items = values = keys = get = __getitem__ = __iter__

    topic = broker.state.topics[b"t"]
    topic.subscriptions = Untouchable(topic.subscriptions)
    assert broker.publish(b"t", b"x").result.subscribers == 100


def test_taking_does_the_same_work_for_one_and_for_ten_thousand_subscribers() -> None:
    few, many = crowd(2, messages=3), crowd(10_000, messages=3)
    assert calls_of(many.take, b"t", b"user1") == calls_of(few.take, b"t", b"user1") < 200


def test_unsubscribing_a_reader_does_the_same_work_however_much_is_stored() -> None:
    short, long = crowd(2, messages=10), crowd(2, messages=10_000)
    assert calls_of(long.unsubscribe, b"t", b"user0") <= calls_of(short.unsubscribe, b"t", b"user0") + 5 < 200


def test_letting_go_of_messages_costs_each_message_once() -> None:
    def all_leave(messages: int) -> int:
        broker = crowd(50, messages)
        total = sum(calls_of(broker.unsubscribe, b"t", b"user%d" % n) for n in range(50))
        assert broker.state.messages == 0
        return total

    assert all_leave(5) < 50 * 200
    assert all_leave(5000) - all_leave(2500) <= 4 * 2500


def test_taking_in_step_costs_a_bounded_number_of_calls_each_time() -> None:
    broker = crowd(1, messages=5000)
    broker.take(b"t", b"user0")
    most = max(calls_of(broker.take, b"t", b"user0") for _ in range(4998))
    assert most < 200


def test_memory_of_a_list_is_copied_seldom() -> None:
    topic = log_with(20_000, alice=1)
    copies, length = 0, list_length(topic)
    for position in range(2, 20_001):
        topic.set_position(b"alice", position)
        copies += list_length(topic) != length
        length = list_length(topic)
    assert copies <= 20_000 // DEFAULT.log_block + 10


def test_a_topic_that_many_have_left_gives_their_room_back() -> None:
    topic = Topic(b"t", 1, "e1", 1, TopicSettings())
    users = [b"user %d" % number for number in range(100_000)]
    for user in users:
        topic.set_position(user, 1)
    most = sys.getsizeof(topic.subscriptions)
    for user in users[1:]:
        topic.remove(user)
    assert sys.getsizeof(topic.subscriptions) * 100 < most
    assert list(topic.subscriptions) == users[:1]
