"""Reading with `after`: at least once in one round trip, whatever gets lost on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.operations import reading
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import STORE_ID, Answer, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.table import table

EPOCH = "0badcafe1"


@pytest.fixture
def full(broker: BrokerDriver) -> BrokerDriver:
    """Two users, five messages."""
    for user in (b"u", b"other"):
        broker.subscribe(b"t", user)
    for number in range(1, 6):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    return broker


def lost(answer: Answer) -> str | None:
    """The `oldest` of a `cursor-lost`."""
    assert answer.code == "cursor-lost"
    assert answer.detail
    return dict(answer.fields).get("oldest")


# --- one step at a time


def test_the_same_cursor_gives_the_same_message_until_the_client_moves_on(full: BrokerDriver) -> None:
    for _ in range(3):
        assert full.after(b"t", b"u").result.body == b"1"
    for _ in range(3):
        assert full.after(b"t", b"u", f"{EPOCH}-1").result.body == b"2"
    assert full.after(b"t", b"u").result.body == b"2", "after=0 confirms nothing and takes nothing back"


def test_a_message_read_so_is_like_one_that_was_taken(full: BrokerDriver) -> None:
    read = full.after(b"t", b"u").result
    assert read == full.take(b"t", b"u").result
    assert (read.epoch, read.seq, read.attempt, read.pending) == (EPOCH, 1, 1, 4)


def test_reading_confirms_nothing_and_gives_the_store_nothing(full: BrokerDriver) -> None:
    full.after(b"t", b"u")
    assert full.dispatcher.context.take_records() == []
    full.after(b"t", b"u", f"{EPOCH}-1")
    assert [type(each).__name__ for each in full.dispatcher.context.take_records()] == ["SubscriptionSet"]
    full.after(b"t", b"u", f"{EPOCH}-1")
    assert full.dispatcher.context.take_records() == [], "done already"


def test_the_last_confirmation_finds_nothing_and_lets_go_of_everything(full: BrokerDriver) -> None:
    full.unsubscribe(b"t", b"other")
    answer = full.after(b"t", b"u", f"{EPOCH}-5")
    assert (answer.code, answer.result) == ("", None)
    assert full.state.messages == 0


def test_an_older_cursor_gives_just_the_next_message(full: BrokerDriver) -> None:
    full.after(b"t", b"u", f"{EPOCH}-3")
    for cursor in ("0", f"{EPOCH}-1", f"{EPOCH}-2", f"{EPOCH}-3"):
        assert full.after(b"t", b"u", cursor).result.body == b"4"


def test_a_cursor_of_one_user_moves_no_other(full: BrokerDriver) -> None:
    full.after(b"t", b"u", f"{EPOCH}-5")
    assert full.bodies(b"t", b"other") == [b"1", b"2", b"3", b"4", b"5"]


def test_plain_takes_and_cursors_go_together(full: BrokerDriver) -> None:
    assert full.after(b"t", b"u").result.body == b"1"
    assert full.take(b"t", b"u").result.body == b"1"
    assert full.after(b"t", b"u").result.body == b"2"
    assert full.after(b"t", b"u", f"{EPOCH}-1").result.body == b"2"
    assert full.after(b"t", b"u", f"{EPOCH}-3").result.body == b"4"
    assert full.take(b"t", b"u").result.body == b"4"


@pytest.mark.parametrize("cursor", ["0badcafe2-1", "0badcafe-1", f"{EPOCH}-6", f"{EPOCH}-{10**18 - 1}", "0-1"])
def test_a_cursor_that_cannot_be_is_lost_and_says_what_is_next(full: BrokerDriver, cursor: str) -> None:
    assert lost(full.after(b"t", b"u", cursor)) == f"{EPOCH}-1"
    full.after(b"t", b"u", f"{EPOCH}-2")
    assert lost(full.after(b"t", b"u", cursor)) == f"{EPOCH}-3", "the next of this user, not of the topic"
    full.after(b"t", b"u", f"{EPOCH}-5")
    full.commit()
    assert lost(full.after(b"t", b"u", cursor)) is None
    assert full.dispatcher.context.take_records() == []
    assert full.after(b"t", b"u").code == "", "after=0 always continues"


def test_the_place_before_the_first_message_is_of_one_life(full: BrokerDriver) -> None:
    assert full.ask(Op.TAKE, b"t", b"u", ops.Take(True, EPOCH, 0)).result.seq == 1
    assert lost(full.ask(Op.TAKE, b"t", b"u", ops.Take(True, "beef", 0))) == f"{EPOCH}-1"


def test_a_negative_cursor_of_a_broken_front_moves_nothing(full: BrokerDriver) -> None:
    assert lost(full.ask(Op.TAKE, b"t", b"u", ops.Take(True, EPOCH, -1))) == f"{EPOCH}-1"


def test_a_cursor_of_an_earlier_life_is_lost(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"old")
    assert broker.after(b"t", b"u").result.epoch == EPOCH
    broker.unsubscribe(b"t", b"u")
    assert broker.after(b"t", b"u", f"{EPOCH}-1").code == "no-subscription"
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"new")
    assert lost(broker.after(b"t", b"u", f"{EPOCH}-1")) == "0badcafe2-1"
    assert broker.after(b"t", b"u").result.body == b"new"


def test_what_was_published_before_one_came_cannot_be_had_by_a_cursor(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"early")
    for body in (b"1", b"2"):
        broker.publish(b"t", body)
    broker.subscribe(b"t", b"late")
    broker.publish(b"t", b"3")
    assert broker.after(b"t", b"late").result.body == b"3"
    assert broker.after(b"t", b"late", f"{EPOCH}-1").result.body == b"3"


def test_a_look_says_how_it_stands_and_takes_nothing(full: BrokerDriver) -> None:
    assert full.look(b"t", b"u").result == ops.Status(5, EPOCH, 1)
    full.take(b"t", b"u")
    assert full.look(b"t", b"u").result == full.look(b"t", b"u").result == ops.Status(4, EPOCH, 2)
    full.after(b"t", b"u", f"{EPOCH}-5")
    assert full.look(b"t", b"u").result == ops.Status(0, EPOCH, 0)
    assert full.look(b"t", b"nobody").code == full.look(b"nothing", b"u").code == "no-subscription"


# --- a line that loses requests and answers, clients that forget, a broker that is killed


@dataclass
class Client:
    """Reads by the book: it moves on once it has dealt with a message, and asks the same again until it is answered."""

    after: bool = True
    cursor: int = 0
    saved: int = 0
    """What it finds again when it starts anew; written now and then."""
    handled: list[int] = field(default_factory=list)

    @property
    def args(self) -> ops.Take:
        return ops.Take(True, EPOCH, self.cursor) if self.after else ops.Take()

    def answered(self, seq: int) -> None:
        self.handled.append(seq)
        self.cursor = seq


@dataclass
class Run:
    """What happened between the clients of one user and the broker, as somebody saw who stood beside both."""

    published: int = 0
    handled: list[int] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    repeats: int = 0
    confirmed: int = 0
    """The highest cursor that a client sent and a broker committed."""

    def handed(self, client: Client, seq: int) -> None:
        """A client got the answer."""
        if seq <= self.confirmed:
            self.wrong.add("a message that was confirmed came again")
        if client.handled and seq < client.handled[-1] and seq not in client.handled:
            self.wrong.add("out of order")
        if seq > max(self.handled, default=0) + 1:
            self.wrong.add("lost")
        self.repeats += seq in self.handled
        self.handled.append(seq)


def run(seed: int, clients: int = 1, after: bool = True, forgetful: float = 0.0, killed: float = 0.0) -> Run:
    """Sixty messages over a line that loses every fifth request and every third answer."""
    rng = random.Random(seed)
    broker = BrokerDriver(store=MirrorStore(STORE_ID))
    for user in (b"u", b"slow"):
        broker.subscribe(b"t", user)
    broker.commit()
    readers = [Client(after) for _ in range(clients)]
    seen = Run()
    idle = 0
    for _ in range(1500):
        if seen.published == 60 and idle >= 20 * clients:
            break
        if seen.published < 60 and rng.random() < 0.4:
            assert broker.publish(b"t", b"x").result.seq == seen.published + 1
            broker.commit()
            seen.published += 1
        client = rng.choice(readers)
        if rng.random() < forgetful:
            client.cursor = client.saved
        elif rng.random() < 0.3:
            client.saved = client.cursor
        if rng.random() < 0.2:
            continue
        args = client.args
        answer = broker.ask(Op.TAKE, b"t", b"u", args)
        if rng.random() < killed:
            broker.restart()
            continue
        broker.commit()
        seen.confirmed = max(seen.confirmed, args.seq)
        idle = 0 if answer.result else idle + 1
        assert answer.code == ""
        if rng.random() < 0.33 or answer.result is None:
            continue
        seen.handed(client, answer.result.seq)
        client.answered(answer.result.seq)
    if set(seen.handled) != set(range(1, seen.published + 1)):
        seen.wrong.add("lost")
    assert broker.look(b"t", b"slow").result.pending == seen.published, "another user is not concerned"
    return seen


@table("seed", range(100))
def test_one_client_deals_with_every_message_once_and_in_order(seed: int) -> None:
    seen = run(seed)
    assert seen.wrong == set()
    assert seen.handled == list(range(1, 61))


@table("seed", range(100))
def test_a_client_that_forgets_its_cursor_loses_nothing_and_repeats_what_it_did_not_confirm(seed: int) -> None:
    seen = run(seed, forgetful=0.1)
    assert seen.wrong == set()
    assert sorted(seen.handled) == seen.handled


@table("seed", range(100))
def test_two_clients_on_one_cursor_by_mistake_lose_nothing_together(seed: int) -> None:
    seen = run(seed, clients=2, forgetful=0.05)
    assert seen.wrong == set()
    assert seen.repeats, "both read the same, that is the mistake"


@table("seed", range(100))
def test_a_broker_that_is_killed_before_the_commit_loses_nothing(seed: int) -> None:
    assert run(seed, clients=2, forgetful=0.05, killed=0.1).wrong == set()


@table("seed", range(20))
def test_the_checker_sees_what_plain_takes_lose(seed: int) -> None:
    """The negative control: a plain take is at most once."""
    assert "lost" in run(seed, after=False).wrong


def test_the_checker_sees_a_broker_that_forgets_confirmations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "confirm_up_to", lambda ref, epoch, seq: None)
    assert "a message that was confirmed came again" in run(1).wrong


def test_the_checker_sees_a_broker_that_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = reading.confirm_up_to

    def skipping(ref: Any, epoch: str, seq: int) -> None:
        honest(ref, epoch, seq)
        honest(ref, EPOCH, min(seq + (seq % 7 == 3), ref.topic.next_seq - 1))

    monkeypatch.setattr(reading, "confirm_up_to", skipping)
    assert "lost" in run(1).wrong
