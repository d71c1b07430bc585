"""Random histories of streams beside all other ways to read: nothing is skipped unannounced, and nobody sleeps on.

Streams are played as fronts do: wait, read, wait; messages are confirmed by time, by the client, or never.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from broker.operations import streams
from broker.thresholds import DEFAULT, Thresholds
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import SECOND, Answer, Asked, BrokerDriver
from tests.support.table import table
from tests.support.tiny import TINY

SEEDS, STEPS = 12, 250
USERS = (b"u", b"v")


@dataclass(eq=False)
class Played:
    """One stream, and what its client has seen."""

    user: bytes
    number: int
    epoch: str
    place: int
    waiting: int = 0
    """Id of its WAIT; 0: it may read."""
    seen: list[int] = field(default_factory=list)


class History:
    """One topic with two users, a few streams, and everything that can happen to them."""

    def __init__(self, seed: int, thresholds: Thresholds) -> None:
        self.rng = random.Random(seed)
        self.broker = BrokerDriver(thresholds=thresholds)
        self.streams: list[Played] = []
        self.published = self.delivered = 0
        self.wrong: set[str] = set()
        for user in USERS:
            self.broker.subscribe(b"t", user)

    def position(self, user: bytes) -> int:
        return self.broker.state.topics[b"t"].subscriptions[user].position

    def step(self) -> None:
        self.rng.choice(
            (self.publish, self.publish, self.open, self.read, self.read, self.read, self.confirm, self.other)
        )()
        for told in self.broker.settle():
            for stream in self.streams:
                if stream.waiting == told.id:
                    stream.waiting = 0
        self.check_nobody_sleeps()

    def publish(self) -> None:
        self.published += 1
        self.broker.publish(b"t", b"%d" % self.published)

    def open(self) -> None:
        user = self.rng.choice(USERS)
        opened = self.broker.ask(Op.STREAM, b"t", user, ops.OpenStream())
        if opened.code:
            assert opened.code == "leases-out"
            return
        if len(self.streams) >= 5:
            self.leave(self.rng.choice(self.streams))
        self.streams.append(Played(user, opened.result.number, opened.result.epoch, opened.result.position))

    def read(self) -> None:
        idle = [each for each in self.streams if not each.waiting]
        if not idle:
            return
        stream = self.rng.choice(idle)
        most = self.rng.choice((1, 2, 100))
        args = ops.Fetch(False, stream.epoch, 0, most, 2**20, False, place=stream.place)
        answer = self.broker.ask(Op.FETCH, b"t", stream.user, args)
        if self.ended(stream, answer):
            return
        found: ops.Batch = answer.result
        if found.position != self.position(stream.user):
            self.wrong.add("a position that is not there")
        if found.position > stream.place:
            stream.place = found.position  # a gap, which the client is told of
        for run in found.runs:
            for seq in range(run.first, run.first + run.count):
                if seq != stream.place:
                    self.wrong.add("a message was skipped, or came again")
                stream.seen.append(seq)
                self.delivered += 1
                stream.place = seq + 1
        if not found.runs:
            self.wait(stream)

    def wait(self, stream: Played) -> None:
        args = ops.Wait(0, stream.place, stream.epoch, stream.number)
        asked = Asked(Op.WAIT, b"t", stream.user, args, 1000 * SECOND)
        assert self.broker.handle(self.broker.frames([asked])).replies == []
        stream.waiting = self.broker.next_id - 1

    def ended(self, stream: Played, answer: Answer) -> bool:
        if answer.code:
            assert answer.code == "leases-out"
            self.leave(stream)
        return bool(answer.code)

    def leave(self, stream: Played) -> None:
        """Its client is gone."""
        self.streams.remove(stream)
        self.broker.ask(Op.CANCEL, b"t", stream.user, ops.Cancel(stream.waiting, stream.number))

    def confirm(self) -> None:
        seen = [each for each in self.streams if each.seen]
        if not seen:
            return
        stream = self.rng.choice(seen)
        before, seq = self.position(stream.user), self.rng.choice(stream.seen)
        number = self.rng.choice((0, stream.number))
        answer = self.broker.ask(Op.CONFIRM, b"t", stream.user, ops.Confirm(stream.epoch, seq, number))
        if answer.code:
            assert answer.code == "leases-out"
            return
        newest = max(each.number for each in self.streams if each.user == stream.user)
        if answer.result.done != (not number or number == newest):
            self.wrong.add("a confirmation of an older stream counted, or one of the newest did not")
        if self.position(stream.user) != (max(before, seq + 1) if answer.result.done else before):
            self.wrong.add("a confirmation moved the position elsewhere")

    def other(self) -> None:
        """Read in another way: take, lease, acknowledge all, or let leases end."""
        user = self.rng.choice(USERS)
        what = self.rng.random()
        if what < 0.3:
            self.broker.take(b"t", user)
        elif what < 0.7:
            self.broker.lease(b"t", user, 1)
        else:
            self.broker.elapse(2)
            self.broker.bodies(b"t", user)

    def check_nobody_sleeps(self) -> None:
        """A stream that waits has seen everything, and its mailbox has no leases."""
        topic = self.broker.state.topics[b"t"]
        for stream in self.streams:
            delivery = topic.subscriptions[stream.user].delivery
            if stream.waiting and (stream.place < topic.next_seq or (delivery and delivery.leases.open)):
                self.wrong.add("a stream sleeps on")


def play(seed: int, thresholds: Thresholds) -> set[str]:
    history = History(seed, thresholds)
    for _ in range(STEPS):
        history.step()
    assert history.delivered > 20
    return history.wrong


@table("thresholds", [DEFAULT, TINY])
@table("seed", range(SEEDS))
def test_streams_skip_nothing_unannounced(seed: int, thresholds: Thresholds) -> None:
    assert play(seed, thresholds) == set()


def found_by_some_seed() -> set[str]:
    return set().union(*(play(seed, TINY) for seed in range(SEEDS)))


def test_the_checker_sees_a_read_that_starts_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    honest = streams._next_ahead
    monkeypatch.setattr(
        streams, "_next_ahead", lambda ref, place, now: min(honest(ref, place + 1, now), ref.topic.next_seq)
    )
    assert "a message was skipped, or came again" in found_by_some_seed()


def test_the_checker_sees_a_wake_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a lease does not wake streams."""
    monkeypatch.setattr("broker.dispatch.waiters.Waiters.leased", lambda self, topic, user: None)
    assert "a stream sleeps on" in found_by_some_seed()
