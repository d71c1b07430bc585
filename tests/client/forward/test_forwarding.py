"""The loops of forwarders in virtual time: order, pace, leases, and what a dead target costs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from fanmail.errors import NoSubscription
from fanmail.forward.answer import Answer, Outcome
from fanmail.forward.delivery import Delivery
from fanmail.forward.forwarder import GIVE_BACK_S, Forwarder, OrderedForwarder
from fanmail.forward.gate import Gate
from fanmail.forward.mailbox import Mailbox
from fanmail.forward.tally import Tally
from fanmail.forward.target import Target
from tests.client.forward.fake_fanmail import FakeFanmail
from tests.client.forward.virtual import VirtualLoop, play, virtual_timing

DONE, DOWN = Answer(Outcome.DONE, 204), Answer(Outcome.UNREACHABLE, reason="refused")
HOUR_S = 3600.0

pytestmark = pytest.mark.usefixtures("_quiet")

Answers = Callable[[int, int], Answer]
"""Return the answer to a message's attempt; both begin with 1."""


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no attempt: a failure of a test would show thousands."""
    caplog.set_level("CRITICAL", "fanmail.forward")


class FakePoster:
    """Answers after `seconds` of virtual time, and remembers what was asked when."""

    def __init__(self, answers: Answers, seconds: float = 0.01) -> None:
        self._answers = answers
        self._seconds = seconds
        self._attempts: dict[str, int] = {}
        self.asked: list[tuple[float, list[int]]] = []
        self.at_once = self.most_at_once = 0
        self.accepted: list[int] = []

    async def post(self, delivery: Delivery) -> Answer:
        numbers = [int(each.rpartition('"text":"')[2].strip('"}')) for each in delivery.body.decode().splitlines()]
        self.asked.append((asyncio.get_running_loop().time(), numbers))
        attempt = self._attempts[delivery.id] = self._attempts.get(delivery.id, 0) + 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.at_once -= 1
        answer = self._answers(numbers[0], attempt)
        if answer.outcome == Outcome.DONE:
            self.accepted += numbers
        return answer


class Stage:
    """A forwarder between a mailbox and a target that are made up."""

    def __init__(
        self, fanmail: FakeFanmail, answers: Answers, seconds: float = 0.01, is_patient: bool = False, **options: Any
    ) -> None:
        self._is_patient = is_patient
        self.fanmail = fanmail
        self.poster = FakePoster(answers, seconds)
        self.tally = Tally("t/u")
        self._options = options
        self.loop: VirtualLoop
        self.left_running: set[asyncio.Task[Any]] = set()

    def play(self, seconds: float, then: Callable[[Forwarder], object] | None = None) -> None:
        """Forward for `seconds` of virtual time."""
        _, self.loop = play(self._play(seconds, then))

    async def _play(self, seconds: float, then: Callable[[Forwarder], object] | None) -> None:
        target, timing = Target("t", "u", "http://x", **self._options), virtual_timing()
        mailbox = Mailbox(target, self.fanmail, self.tally, timing)  # type: ignore[arg-type]
        kind = OrderedForwarder if target.ordered else Forwarder
        forwarder = kind(target, mailbox, self.poster, self.tally, timing, Gate())  # type: ignore[arg-type]
        forwarder.is_patient = self._is_patient
        task = asyncio.create_task(forwarder.run())
        await asyncio.wait([task], timeout=seconds)
        if then:
            then(forwarder)
            await asyncio.wait([task], timeout=60)
            self.left_running = asyncio.all_tasks() - {asyncio.current_task(), task}
        elif not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=then is None and task.cancelling() > 0)

    def gaps(self) -> list[float]:
        """Return the seconds between one request and the next."""
        times = [at for at, _ in self.poster.asked]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_a_dead_target_is_asked_less_and_less_often_and_comes_back_by_itself() -> None:
    dead_s = 3 * HOUR_S
    stage = Stage(FakeFanmail(300), lambda *_: DONE if asyncio.get_running_loop().time() > dead_s else DOWN)
    stage.play(dead_s + 2 * HOUR_S)
    while_dead = [at for at, _ in stage.poster.asked if at < dead_s]
    gaps = stage.gaps()[: len(while_dead) - 1]
    assert gaps[0] < 0.1, "a single failure may be one of the message"
    assert all(2**n / 2 <= gap <= 2**n + 1 for n, gap in enumerate(gaps[1:7]))
    assert all(30 <= gap <= 61 for gap in gaps[7:])
    assert stage.poster.asked[len(while_dead)][0] - dead_s < 61, "it comes back within a minute"
    assert stage.loop.turns < 40 * len(stage.poster.asked), "no busy loop"
    assert sorted(stage.poster.accepted) == list(range(1, 301))
    assert stage.tally.failures == 0


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_dead_target_takes_no_more_than_a_request_at_a_time(concurrency: int) -> None:
    stage = Stage(FakeFanmail(100), lambda *_: DOWN, concurrency=concurrency)
    stage.play(HOUR_S)
    assert stage.poster.most_at_once == concurrency
    assert len(stage.poster.asked) < 3 * concurrency + 130
    first = [at for at, _ in stage.poster.asked][2 * concurrency :]
    assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(first))


def test_requests_that_fail_together_are_one_failure_of_the_target() -> None:
    stage = Stage(FakeFanmail(100), lambda *_: DOWN, concurrency=8)
    stage.play(0.5)
    assert (stage.tally.failures, len(stage.poster.asked)) == (2, 16)


def test_one_message_that_always_fails_does_not_hold_the_others() -> None:
    stage = Stage(FakeFanmail(200), lambda n, _: Answer(Outcome.REFUSED, 500) if n == 5 else DONE)
    stage.play(10)
    assert sorted(stage.poster.accepted) == [n for n in range(1, 201) if n != 5]
    assert stage.tally.messages["done"] == 199


def test_the_delay_of_a_message_doubles_up_to_its_limit() -> None:
    stage = Stage(FakeFanmail(1), lambda *_: Answer(Outcome.REFUSED, 500), delay=1.0, max_delay=100.0)
    stage.play(HOUR_S)
    delays = [delay for _, delay in stage.fanmail.returned]
    assert all(2**n / 2 <= delay <= 2**n for n, delay in enumerate(delays[:7]))
    assert all(50 <= delay <= 100 for delay in delays[7:])


def test_what_fails_too_often_becomes_a_dead_letter() -> None:
    stage = Stage(FakeFanmail(1, max_deliveries=4), lambda *_: DOWN)
    stage.play(HOUR_S)
    assert (stage.fanmail.dead, len(stage.poster.asked)) == ([1], 4)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_busy_target_is_left_alone_for_as_long_as_it_asked(concurrency: int) -> None:
    stage = Stage(
        FakeFanmail(8),
        lambda n, attempt: Answer(Outcome.BUSY, 429, 500.0) if n == 1 and attempt == 1 else DONE,
        concurrency=concurrency,
    )
    stage.play(HOUR_S)
    (at, _), *later = stage.poster.asked
    assert all(each - at >= 500 for each, _ in later[concurrency - 1 :])
    assert sorted(stage.poster.accepted) == list(range(1, 9))


def test_a_slow_target_keeps_its_leases() -> None:
    stage = Stage(FakeFanmail(2), lambda *_: DONE, seconds=100.0, timeout=200.0, lease=6.0)
    stage.play(300)
    assert (stage.poster.accepted, stage.tally.messages) == ([1, 2], {"done": 2})
    assert stage.fanmail.extended >= 2 * 48


@pytest.mark.parametrize("batch", [0, 3])
def test_with_order_nothing_is_sent_before_what_is_older_is_done(batch: int) -> None:
    stage = Stage(
        FakeFanmail(20), lambda n, attempt: DOWN if n % 3 == 0 and attempt < 3 else DONE, ordered=True, batch=batch
    )
    stage.play(HOUR_S)
    assert stage.poster.accepted == list(range(1, 21))
    firsts = [numbers[0] for _, numbers in stage.poster.asked]
    assert firsts == sorted(firsts)
    assert stage.poster.most_at_once == 1


def test_with_order_a_lease_of_a_predecessor_is_waited_for() -> None:
    stage = Stage(FakeFanmail(3), lambda *_: DONE, ordered=True)
    predecessor = stage.fanmail.held[1]
    predecessor.attempt, predecessor.until, predecessor.is_leased = 1, 30.0, True
    stage.play(60)
    assert stage.poster.accepted == [1, 2, 3]
    assert stage.poster.asked[0][0] >= 30
    assert stage.fanmail.returned == [], "meanwhile nothing else is leased, which would cost it an attempt"


def test_with_order_a_read_whose_answer_is_lost_changes_nothing() -> None:
    stage = Stage(FakeFanmail(5), lambda *_: DONE, ordered=True)
    stage.fanmail.lost_fetches = {3}
    stage.play(120)
    assert stage.poster.accepted == [1, 2, 3, 4, 5]


def test_with_order_a_dead_letter_lets_the_next_one_pass() -> None:
    stage = Stage(FakeFanmail(3, max_deliveries=2), lambda n, _: DOWN if n == 2 else DONE, ordered=True)
    stage.play(HOUR_S)
    assert (stage.poster.accepted, stage.fanmail.dead) == ([1, 3], [2])


def test_a_target_that_is_gone_gets_nothing_more() -> None:
    stage = Stage(FakeFanmail(5), lambda *_: Answer(Outcome.GONE, 410), unsubscribe_on_gone=True)
    stage.play(HOUR_S)
    assert len(stage.poster.asked) == 1
    assert stage.tally.gone
    assert (stage.fanmail.unsubscribed, stage.fanmail.leased) == (True, 0)


@pytest.mark.parametrize("ordered", [False, True])
def test_stop_lets_requests_end_and_leaves_no_lease(ordered: bool) -> None:
    stage = Stage(FakeFanmail(5), lambda *_: DONE, seconds=10.0, ordered=ordered)
    stage.play(12, then=Forwarder.stop)
    assert stage.poster.accepted == [1, 2]
    assert stage.fanmail.leased == 0
    assert len(stage.fanmail.held) == 3


def test_what_a_read_still_leases_at_a_stop_is_given_back_before_the_end() -> None:
    stage = Stage(FakeFanmail(1), lambda *_: DONE)
    stage.fanmail.held[1].until = 1.4
    stage.fanmail.give_back_s = 1.0
    stage.play(1, then=Forwarder.stop)
    assert stage.fanmail.returned == [(1, 0.0)]
    assert stage.fanmail.leased == 0
    assert not stage.poster.asked


def test_a_stop_does_not_wait_for_a_fanmail_that_hangs_and_leaves_nothing_running() -> None:
    stage = Stage(FakeFanmail(1), lambda *_: DONE)
    stage.fanmail.held[1].until = 1.4
    stage.fanmail.give_back_s = HOUR_S
    stage.play(1, then=Forwarder.stop)
    assert 1.5 < stage.loop.time() < 1.5 + GIVE_BACK_S
    assert not stage.left_running


def test_cancellation_gives_back_what_is_being_sent() -> None:
    stage = Stage(FakeFanmail(5), lambda *_: DONE, seconds=100.0, concurrency=3, timeout=200)
    stage.play(1)
    assert sorted(seq for seq, _ in stage.fanmail.returned) == [1, 2, 3]
    assert stage.fanmail.leased == 0


def test_batches_have_what_waits_and_one_message_while_the_target_fails() -> None:
    stage = Stage(FakeFanmail(25), lambda _, attempt: DOWN if stage.tally.attempts.total() < 4 else DONE, batch=10)
    stage.play(HOUR_S)
    sizes = [len(numbers) for _, numbers in stage.poster.asked]
    assert sizes[:2] == [10, 10]
    assert set(sizes[2:5]) == {1}
    assert max(sizes[5:]) > 1
    assert sorted(stage.poster.accepted) == list(range(1, 26))


@pytest.mark.parametrize("is_patient", [False, True])
def test_without_a_subscription_a_single_target_ends_and_one_of_many_waits(is_patient: bool) -> None:
    stage = Stage(FakeFanmail(1), lambda *_: DONE, is_patient=is_patient)
    stage.fanmail.errors = [NoSubscription("none", "no-subscription", 404)] * 5
    if is_patient:
        stage.play(600)
        assert (stage.poster.accepted, stage.tally.errors) == ([1], {"no-subscription": 5})
    else:
        with pytest.raises(NoSubscription):
            stage.play(60)
        assert stage.tally.errors == {"no-subscription": 1}
