"""When, where and after how long a call is retried: the 503/504 rule, with a clock that only pauses advance."""

from __future__ import annotations

import itertools

import pytest

from fanmail import (
    ONCE,
    BadRequest,
    CursorLost,
    Denied,
    FanmailError,
    KeyReused,
    LeaseLost,
    LeasesOut,
    NoSubscription,
    NotFound,
    OutcomeUnknown,
    Refused,
    Retries,
    ServerFault,
    TooLarge,
    Unavailable,
    calls,
)
from fanmail.http_call import Call, Outcome, Response
from fanmail.message import Message
from tests.client.fakes import GONE, REFUSED, RESET, URLS, Stage, message, problem
from tests.support.table import table

DOWN = problem(503, "broker-down", 1)
UNKNOWN = problem(504, "outcome-unknown")
STORED = Response(200, {"msg-id": "e-1", "msg-subscribers": "1"})
DONE = Response(200, {"subscription-created": "true", "msg-subscribers": "0", "msg-count": "0"})
LENT = Message("e-1", b"", receipt="e-1.1", topic="t", user="u")


def repeated(stage: Stage, call: Call[object]) -> object:
    return stage.play(stage.exchange.call(call))


def test_503_is_repeated_after_the_time_that_it_names() -> None:
    stage = Stage([DOWN, DOWN, STORED])
    assert repeated(stage, calls.publish("t", b"x", key="")).id == "e-1"
    assert stage.pauses == [1 + 0.1, 1 + 0.2]


@table("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_twofold_up_to_a_ceiling_with_full_jitter(chance: float) -> None:
    stage = Stage([REFUSED] * 8 + [DONE], chance=chance, retries=Retries(total=None, base=0.1, max_pause=2.0))
    repeated(stage, calls.configure("t", "u"))
    assert stage.pauses == pytest.approx([chance * each for each in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)])


def test_each_pause_is_reported_with_the_error_before_it() -> None:
    reported: list[FanmailError] = []
    stage = Stage([DOWN, REFUSED, STORED], retries=Retries(on_retry=reported.append))
    repeated(stage, calls.publish("t", b"x", key=""))
    assert [each.code for each in reported] == ["broker-down", ""]
    assert len(stage.pauses) == 2


def test_it_ends_when_the_next_try_would_be_too_late() -> None:
    stage = Stage([DOWN] * 100, retries=Retries(total=10.0, base=1, max_pause=1))
    with pytest.raises(Unavailable) as caught:
        repeated(stage, calls.publish("t", b"x"))
    assert caught.value.code == "broker-down"
    assert caught.value.retry_after == 1.0
    assert len(stage.sent) == 5  # at 0, 2, 4, 6 and 8 seconds; the next would be at 10
    assert sum(stage.pauses) == 8


def test_a_try_is_not_given_more_than_what_is_left_of_the_total_time() -> None:
    stage = Stage([REFUSED] * 10, retries=Retries(total=12.0, base=5, max_pause=5))
    with pytest.raises(Unavailable):
        repeated(stage, calls.configure("t", "u"))
    assert [each.timeout_s for each in stage.sent] == [10.0, 7.0, 2.0]


def test_a_long_poll_has_its_own_wait_on_top() -> None:
    stage = Stage([GONE], retries=Retries(total=1.0))
    repeated(stage, calls.receive("t", "u", after="0", wait=20))
    assert stage.sent[0].timeout_s == 21.0


def test_what_a_long_poll_waited_is_not_taken_from_the_retries() -> None:
    stage = Stage([DOWN, GONE], retries=Retries(total=2.0), answer_time=20.0)
    repeated(stage, calls.receive("t", "u", after="0", wait=20))
    assert len(stage.sent) == 2
    stage = Stage([REFUSED] * 100, retries=Retries(total=2.0, base=1, max_pause=1))
    with pytest.raises(Unavailable):
        repeated(stage, calls.receive("t", "u", after="0", wait=20))
    assert sum(stage.pauses) == 1, "nor given to them where nobody waited"


def test_without_retries_there_is_one_try() -> None:
    for call in (calls.publish("t", b"x"), calls.receive("t", "u", after="0", wait=20)):
        for answer in (DOWN, UNKNOWN, REFUSED, RESET):
            stage = Stage([answer], urls=URLS, retries=ONCE)
            with pytest.raises(FanmailError):
                repeated(stage, call)
            assert stage.sent[0].timeout_s in (10.0, 30.0)


@table("answer", [DOWN, UNKNOWN, REFUSED, RESET])
def test_the_next_call_is_for_another_server_also_where_this_one_was_not_tried_again(answer: Outcome) -> None:
    stage = Stage([answer, GONE], urls=URLS, retries=ONCE)
    with pytest.raises(FanmailError):
        repeated(stage, calls.receive("t", "u"))
    repeated(stage, calls.receive("t", "u"))
    assert stage.bases == ["http://one", "http://two"]


SAFE = [
    calls.publish("t", b"x"),
    calls.publish("t", b"x", key="mine"),
    calls.publish_many("t", [b"x"]),
    calls.subscribe("t", "u"),
    calls.configure("t", "u", max_deliveries=1),
    calls.unsubscribe("t", "u"),
    calls.acknowledge(LENT),
    calls.acknowledge_many([LENT]),
    calls.extend(LENT, 30),
    calls.give_back(LENT),
]
"""Calls of which a second execution changes nothing, or that the server knows to be a repeat."""
READS = [
    calls.advance("t", "u", "e-1"),
    calls.receive("t", "u", after="0"),
    calls.receive("t", "u", lease=30),
    calls.fetch("t", "u", after="0"),
    calls.fetch_frames("t", "u", after="0"),
]
UNSAFE = [
    calls.publish("t", b"x", key=""),
    calls.publish_many("t", [b"x"], key=""),
    calls.receive("t", "u"),
    calls.fetch("t", "u"),
    calls.fetch_frames("t", "u"),
    calls.put_back_dead("t", "u"),
    calls.drop_dead("t", "u"),
]


@table("answer", [UNKNOWN, RESET, Response(502, {})])
@table("call", [*SAFE, *READS])
def test_an_unknown_outcome_is_repeated_where_that_is_safe(call: Call[object], answer: Outcome) -> None:
    last = GONE if call in READS else DONE
    stage = Stage([answer, last])
    repeated(stage, call)
    assert stage.sent[0].request == stage.sent[1].request


@table("answer", [UNKNOWN, RESET])
@table("call", UNSAFE)
def test_an_unknown_outcome_is_not_repeated_where_it_could_do_it_twice(call: Call[object], answer: Outcome) -> None:
    stage = Stage([answer], urls=URLS)
    with pytest.raises(OutcomeUnknown):
        repeated(stage, call)
    assert stage.pauses == []


@table("call", UNSAFE)
def test_what_was_not_executed_is_repeated_always(call: Call[object]) -> None:
    answers = [DOWN, REFUSED, Response(408, {}), Response(503, {"content-type": "text/plain"}, b"too many")]
    last = GONE if call.request.method == "GET" else DONE
    stage = Stage([*answers, last])
    repeated(stage, call)
    assert len(stage.sent) == 5


def test_a_publish_has_one_key_for_all_its_tries_and_another_for_the_next() -> None:
    stage = Stage([UNKNOWN, RESET, STORED, STORED, STORED])
    repeated(stage, calls.publish("t", b"x"))
    repeated(stage, calls.publish("t", b"x"))
    repeated(stage, calls.publish("t", b"x", key="mine"))
    assert stage.keys() == ["key-1", "key-1", "key-1", "key-2", "mine"]


def test_no_key_is_sent_where_none_is_wanted() -> None:
    stage = Stage([STORED])
    repeated(stage, calls.publish("t", b"x", key=""))
    assert stage.keys() == [None]


def test_the_end_is_unknown_where_any_try_was() -> None:
    stage = Stage([UNKNOWN] + [DOWN] * 100)
    with pytest.raises(OutcomeUnknown, match="earlier try may have been executed"):
        repeated(stage, calls.publish("t", b"x"))


def test_404_to_a_repeated_unsubscribe_means_that_it_was_done() -> None:
    missing = problem(404, "no-subscription")
    assert repeated(Stage([RESET, missing]), calls.unsubscribe("t", "u")) is None
    with pytest.raises(NoSubscription):
        repeated(Stage([DOWN, missing]), calls.unsubscribe("t", "u"))


def test_another_server_is_asked_at_once_and_kept_while_it_works() -> None:
    stage = Stage([REFUSED, DONE, DONE, DONE], urls=URLS)
    for _ in range(3):
        repeated(stage, calls.configure("t", "u"))
    assert stage.pauses == []
    assert stage.bases == ["http://one", "http://two", "http://two", "http://two"]


def test_after_a_round_of_all_servers_there_is_a_pause() -> None:
    stage = Stage([REFUSED] * 5 + [DONE], urls=URLS)
    repeated(stage, calls.configure("t", "u"))
    assert stage.bases == ["http://one", "http://two"] * 3
    assert stage.pauses == [0.1, 0.2]


def test_503_moves_to_another_server_too_but_after_its_time() -> None:
    stage = Stage([DOWN, DONE], urls=URLS)
    repeated(stage, calls.configure("t", "u"))
    assert (stage.bases, stage.pauses) == (["http://one", "http://two"], [1.1])


def test_a_ceiling_is_told_at_once_unless_room_is_waited_for() -> None:
    full = problem(429, "topic-full", 1)
    with pytest.raises(Refused):
        repeated(Stage([full]), calls.publish("t", b"x"))
    stage = Stage([full, STORED], urls=URLS, retries=Retries(refused=True))
    repeated(stage, calls.publish("t", b"x"))
    assert (stage.bases, stage.pauses) == (["http://one"] * 2, [1.1])


@table(
    ("answer", "kind"),
    [
        (problem(400, "bad-name"), BadRequest),
        (problem(401, "no-key"), Denied),
        (problem(404, "no-subscription"), NoSubscription),
        (problem(404, "no-route"), NotFound),
        (problem(409, "lease-lost"), LeaseLost),
        (problem(409, "leases-out"), LeasesOut),
        (problem(410, "cursor-lost"), CursorLost),
        (Response(413, {"content-type": "text/plain"}, b"too large\n"), TooLarge),
        (problem(422, "key-reused"), KeyReused),
        (problem(431, "headers-too-large"), TooLarge),
        (problem(500, "internal"), ServerFault),
        (Response(302, {}), ServerFault),
    ],
)
def test_errors_have_a_type_and_are_not_repeated(answer: Response, kind: type[FanmailError]) -> None:
    with pytest.raises(FanmailError) as caught:
        repeated(Stage([answer], urls=URLS), calls.publish("t", b"x"))
    assert type(caught.value) is kind
    assert caught.value.status == answer.status


def test_an_error_tells_what_the_problem_document_told() -> None:
    with pytest.raises(CursorLost) as caught:
        repeated(Stage([problem(410, "cursor-lost", oldest="f-3")]), calls.receive("t", "u", after="e-3"))
    error = caught.value
    assert (error.code, error.status, error.detail, error.oldest) == ("cursor-lost", 410, "about cursor-lost", "f-3")
    assert error.request_id == "id-1"
    assert str(error) == "410 cursor-lost: about cursor-lost"


@table("answer", [Response(200, {}, b"<html>"), Response(200, {"msg-subscribers": "many"})])
def test_a_200_of_some_other_server_is_no_success(answer: Response) -> None:
    for call in (calls.publish("t", b"x"), calls.subscribe("t", "u"), calls.receive("t", "u"), calls.status("t", "u")):
        with pytest.raises(ServerFault):
            repeated(Stage([answer]), call)


def test_404_to_a_head_comes_without_a_document() -> None:
    with pytest.raises(NoSubscription):
        repeated(Stage([Response(404, {"content-type": "application/problem+json"})]), calls.status("t", "u"))


def test_a_message_is_read_from_headers_and_body() -> None:
    answer = message(7, b"\xff", **{"content-type": "a/b", "meta-x": "1", "server": "s"})
    found = repeated(Stage([answer]), calls.receive("t", "u"))
    assert (found.id, found.seq, found.body, found.type, found.headers) == ("e-7", 7, b"\xff", "a/b", {"meta-x": "1"})


@table("gone_s", [3.0, 10.0])
def test_a_take_over_of_a_replicated_broker_is_a_delay_and_no_error(gone_s: float) -> None:
    """The owner dies under a publish: 504 for that one, 503 until its standby owns the log, then the stored answer."""
    began = 1000.0

    def answer() -> Response:
        return DOWN if stage.now < began + gone_s else STORED

    for urls in (URLS[:1], URLS):
        stage = Stage(itertools.chain([UNKNOWN], itertools.repeat(answer)), urls=urls)
        assert repeated(stage, calls.publish("t", b"x")).id == "e-1"
        assert set(stage.keys()) == {"key-1"}, "a repeat of the first one is known by its key"
        assert stage.now < began + gone_s + 6.5, "its last pause is at most Retry-After and max_pause"
        assert len(stage.sent) < 20


def test_plain_text_of_an_error_is_one_line_without_the_status_again() -> None:
    answer = Response(413, {"content-type": "text/plain"}, b"413 Content Too Large\n\nthe body has over\n 9 bytes\n")
    with pytest.raises(TooLarge) as caught:
        repeated(Stage([answer]), calls.publish("t", b"x"))
    assert str(caught.value) == "413: the body has over 9 bytes"
