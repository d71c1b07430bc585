"""The loops that are made of calls, run against a list of outcomes."""

from __future__ import annotations

import pytest

from fanmail import FanmailError, NoSubscription, Retries, Unavailable, Worked
from fanmail.consumer import ReadOptions, read_messages
from fanmail.http_call import Response
from fanmail.message import Message
from fanmail.worker import WorkOptions, extend_lease, run_worker
from tests.client.fakes import GONE, RESET, URLS, Stage, message, problem

DONE = Response(200, {})
LOST = problem(409, "lease-lost")


def read(stage: Stage, limit: int = 1000, **options: object) -> None:
    stage.play(read_messages(stage.exchange, "t", "u", ReadOptions(**options)), limit)


def work(stage: Stage, **options: object) -> Worked:
    return stage.play(run_worker(stage.exchange, "t", "u", WorkOptions(**options)))


def test_the_cursor_moves_when_the_next_message_is_asked_for() -> None:
    stage = Stage([message(1), message(2)])
    read(stage, limit=2)
    assert stage.targets == ["GET /t/u?after=0&wait=20.0".replace("20.0", "20"), "GET /t/u?after=e-1&wait=20"]


def test_it_goes_on_from_a_cursor_of_the_caller() -> None:
    stage = Stage([message(8)])
    read(stage, limit=1, after="e-7")
    assert stage.targets == ["GET /t/u?after=e-7&wait=20"]


def test_a_lost_answer_is_asked_for_again_with_the_same_cursor() -> None:
    stage = Stage([message(1), RESET, problem(504, "outcome-unknown"), message(2)], urls=URLS)
    read(stage, limit=2)
    assert stage.targets[1] == stage.targets[2] == stage.targets[3] == "GET /t/u?after=e-1&wait=20"
    assert stage.emitted == ["e-1", "e-2"]


def test_it_ends_when_nothing_waits_and_has_confirmed_the_last() -> None:
    stage = Stage([message(1), GONE])
    read(stage, until_empty=True)
    assert stage.targets == ["GET /t/u?after=0", "GET /t/u?after=e-1"]
    assert stage.pauses == []


def test_polls_that_end_in_time_follow_each_other_at_once() -> None:
    stage = Stage([GONE] * 3 + [message(1)], answer_time=20.0)
    read(stage, limit=1)
    assert stage.pauses == []


def test_polls_that_end_too_soon_are_held_back() -> None:
    stage = Stage([GONE] * 3 + [message(1)])
    read(stage, limit=1)
    assert stage.pauses == [0.1, 0.2, 0.4]


def test_a_server_full_of_waiters_is_not_asked_before_its_time() -> None:
    stage = Stage([Response(204, {"retry-after": "1"}), message(1)])
    read(stage, limit=1)
    assert stage.pauses == [1.1]


def test_404_says_what_may_have_happened() -> None:
    stage = Stage([message(1), problem(404, "no-subscription")])
    with pytest.raises(NoSubscription, match=r"cursor was e-1.*restarted.*Subscribe again"):
        read(stage)
    with pytest.raises(NoSubscription, match="Subscribe again"):
        work(Stage([problem(404, "no-subscription")]))


def test_a_worker_acknowledges_what_went_well_and_gives_back_what_failed() -> None:
    stage = Stage([message(1, receipt=True), DONE, message(2, receipt=True), DONE, GONE])
    stage.raises = [None, RuntimeError("no")]
    assert work(stage, until_empty=True, lease=30) == Worked(done=1, failed=1, lost=0)
    assert stage.targets == [
        "GET /t/u?lease=30",
        "DELETE /t/u/e-1.1",
        "GET /t/u?lease=30",
        "PATCH /t/u/e-2.1?lease=0&delay=1",
        "GET /t/u?lease=30",
    ]


@pytest.mark.parametrize(("wanted", "sent"), [(None, "delay=5"), (0.5, "delay=0.5"), (0, "lease=0")])
def test_the_delay_of_a_failed_message_may_be_chosen(wanted: float | None, sent: str) -> None:
    stage = Stage([message(1, receipt=True), DONE])
    stage.raises = [RuntimeError("no")]
    told: list[object] = []

    def failed(each: Message, error: Exception) -> float | None:
        told.append((each.id, str(error)))
        return wanted

    work(stage, limit=1, delay=5, failed=failed)
    assert stage.targets[-1].endswith(sent)
    assert told == [("e-1", "no")]


@pytest.mark.parametrize(
    ("attempt", "options", "delay"),
    [
        (1, {}, "1"),
        (4, {}, "8"),
        (7, {}, "60"),
        (5000, {}, "60"),
        (2, {"delay": 5}, "10"),
        (3, {"delay": 0.5, "max_delay": 0.5}, "0.5"),
        (3, {"delay": 90}, "90"),
    ],
)
def test_a_failed_message_waits_longer_with_every_attempt(attempt: int, options: dict[str, float], delay: str) -> None:
    stage = Stage([message(1, receipt=True, **{"msg-attempt": str(attempt)}), DONE])
    stage.raises = [RuntimeError("no")]
    work(stage, limit=1, **options)
    assert stage.targets[-1] == f"PATCH /t/u/e-1.1?lease=0&delay={delay}"


def test_a_callback_that_fails_gives_the_message_back_all_the_same() -> None:
    def failed(each: Message, error: Exception) -> None:
        raise ZeroDivisionError

    stage = Stage([message(1, receipt=True), DONE])
    stage.raises = [RuntimeError("no")]
    with pytest.raises(ZeroDivisionError):
        work(stage, failed=failed)
    assert stage.targets[-1] == "PATCH /t/u/e-1.1?lease=0&delay=1"


def test_an_interruption_counts_more_than_that_the_message_cannot_be_given_back() -> None:
    stage = Stage([message(1, receipt=True), problem(500, "internal")])
    stage.raises = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        work(stage)


def test_a_worker_that_loses_one_lease_after_the_other_slows_down() -> None:
    stage = Stage(
        [message(1, receipt=True), LOST] * 3 + [message(1, receipt=True), DONE, message(2, receipt=True), LOST]
    )
    assert work(stage, limit=5) == Worked(done=1, lost=4)
    assert stage.pauses == [0.1, 0.2, 0.4]


def test_an_interruption_gives_the_message_back_and_goes_on_up() -> None:
    stage = Stage([message(1, receipt=True), DONE])
    stage.raises = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        work(stage, delay=5)
    assert stage.targets[-1] == "PATCH /t/u/e-1.1?lease=0"


def test_a_lost_lease_is_counted_and_no_error() -> None:
    stage = Stage([message(1, receipt=True), LOST, message(2, receipt=True), LOST])
    stage.raises = [None, RuntimeError("no")]
    assert work(stage, limit=2) == Worked(lost=2)


def test_a_worker_waits_where_others_hold_all_leases() -> None:
    stage = Stage([problem(429, "too-many-leases", 1), message(1, receipt=True), DONE])
    assert work(stage, limit=1, until_empty=True) == Worked(done=1)
    assert stage.pauses == [1.1]


def test_a_worker_stops_between_messages() -> None:
    stage = Stage([message(1, receipt=True), DONE])
    assert work(stage, stopped=lambda: bool(stage.handled)) == Worked(done=1)


def test_a_worker_that_cannot_reach_anybody_ends_with_the_error() -> None:
    stage = Stage([problem(503, "broker-down", 1)] * 100)
    with pytest.raises(Unavailable):
        work(stage)


def test_a_lease_is_extended_every_third_of_it_until_it_is_lost() -> None:
    lent = Message("e-1", b"", receipt="e-1.1", topic="t", user="u")
    down: list[Response] = [problem(503, "broker-down", 1)] * 3
    stage = Stage(
        [DONE, problem(500, "internal"), *down, DONE, LOST], retries=Retries(total=2.5, base=0.5, max_pause=0.5)
    )
    stage.play(extend_lease(stage.exchange, lent, 30))
    assert set(stage.targets) == {"PATCH /t/u/e-1.1?lease=30"}
    assert stage.pauses.count(10) == 5
    assert issubclass(Unavailable, FanmailError)
