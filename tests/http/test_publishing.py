"""Publishing with a time to live, later, and once: what reaches the broker, and what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.http.playing import LIMITS, Front, problem

STORED = ops.Published(3, "abc1", 7)
YEAR_MS = 365 * 86_400 * 1000


def published(front: Front, query: str = "", *headers: str, body: bytes = b"body", result: Any = STORED) -> Any:
    """The arguments of one publish that succeeds."""
    front.reset()
    front.answers(Op.PUBLISH, result)
    assert front.ask(f"POST /t{query}", *headers, body=body).status == 200
    return front.args


def digest(front: Front, query: str = "", *headers: str, body: bytes = b"body") -> bytes:
    args = published(front, query, "Idempotency-Key: k", *headers, body=body)
    assert args.key == b"k"
    assert len(args.digest) == 16
    return bytes(args.digest)


def test_a_plain_publish_says_nothing_of_all_this(front: Front) -> None:
    assert published(front) == ops.Publish(b"", b"body")
    answer = front.ask("POST /t", body=b"body")
    assert (answer.body, answer.headers["msg-id"], answer.headers["msg-subscribers"]) == (b"", "abc1-7", "3")
    assert not {"msg-due", "msg-count", "idempotency-replayed"} & answer.headers.keys()


# --- ttl and delay


@pytest.mark.parametrize(
    ("query", "ttl", "delay"),
    [
        ("?ttl=60", 60_000, 0),
        ("?ttl=0.001", 1, 0),
        ("?ttl=0.000001", 1, 0),
        ("?ttl=1.0001", 1001, 0),
        ("?ttl=31536000", YEAR_MS, 0),
        ("?delay=0", 0, 0),
        ("?delay=0.0", 0, 0),
        ("?delay=0.000001", 0, 1),
        ("?delay=5&ttl=2.5", 2500, 5000),
        ("?delay=31536000.000000", 0, YEAR_MS),
    ],
)
def test_times_reach_the_broker_in_milliseconds(front: Front, query: str, ttl: int, delay: int) -> None:
    assert published(front, query) == ops.Publish(b"", b"body", ttl=ttl, delay=delay)


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        *((f"ttl={text}", "above 0 and at most 31536000") for text in ("0", "0.0", "31536000.000001", "-1", "", "x")),
        *((f"delay={text}", "from 0 to 31536000") for text in ("31536001", "-1", "", "1e3", "0.0000001")),
    ],
)
def test_times_out_of_range_publish_nothing(front: Front, query: str, allowed: str) -> None:
    answer = front.ask(f"POST /t?{query}", body=b"body")
    name = query.partition("=")[0]
    assert problem(answer) == (400, "bad-parameter", name)
    detail = json.loads(answer.body)["detail"]
    assert detail == f"parameter '{name}' must be a number of seconds {allowed}, such as 20 or 2.5"
    assert front.calls == []


def test_what_is_delayed_has_a_due_time_and_no_id_yet(front: Front) -> None:
    front.answers(Op.PUBLISH, ops.Published(3, "abc1", 7, due_ms=1_700_000_000_123))
    answer = front.ask("POST /t?delay=5", body=b"body")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["msg-due"] == "2023-11-14T22:13:20.123Z"
    assert not {"msg-id", "msg-subscribers", "msg-count"} & answer.headers.keys()
    answer = front.ask("POST /t?delay=5&batch=lines", body=b"a\nb")
    assert (answer.headers["msg-count"], "msg-due" in answer.headers) == ("2", True)
    assert not {"msg-id", "msg-subscribers"} & answer.headers.keys()


def test_a_batch_has_one_time_to_live(front: Front) -> None:
    args = published(front, "?batch=lines&ttl=60&delay=1", body=b"a\nb")
    assert (args.count, args.ttl, args.delay) == (2, 60_000, 1000)


def test_a_large_body_travels_beside_its_arguments_with_all_else(front: Front) -> None:
    body = b"x" * wire.LARGE_BODY
    args = published(front, "?ttl=60", "Idempotency-Key: k", body=body)
    ((*_, beside),) = front.calls
    assert (args.body, beside) == (b"", body)
    assert (args.ttl, args.key) == (60_000, b"k")
    assert args.digest != digest(front, "?ttl=60", body=b"")
    assert args.digest == digest(front, "?ttl=60", body=body)


@pytest.mark.parametrize(("code", "status"), [("too-many-delayed", 429), ("key-reused", 422)])
def test_what_the_broker_refuses_is_told(front: Front, code: str, status: int) -> None:
    front.answers(Op.PUBLISH, FanmailError(code, "why"))
    assert problem(front.ask("POST /t?delay=5", "Idempotency-Key: k"))[:2] == (status, code)


# --- Idempotency-Key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("k", b"k"),
        ('"k"', b"k"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", b"8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("!~", b"!~"),
        ('"a"b"', b'a"b'),
        ('""k""', b'"k"'),
        ('"k', b'"k'),
        ('k"', b'k"'),
        ('"', b'"'),
        ("x" * 255, b"x" * 255),
        (f'"{"x" * 255}"', b"x" * 255),
        ("  k\t", b"k"),
    ],
)
def test_a_key_is_taken_without_its_quotes(front: Front, header: str, key: bytes) -> None:
    args = published(front, "", f"Idempotency-Key: {header}")
    assert args.key == key
    assert len(args.digest) == 16


@pytest.mark.parametrize(
    "header", ["", '""', "a b", '"a b"', "\xe9", "a\tb", "x" * 256, f'"{"x" * 256}"', f'"{"x" * 255}', '" k"']
)
def test_what_is_no_key_publishes_nothing(front: Front, header: str) -> None:
    answer = front.ask("POST /t", f"Idempotency-Key: {header}", body=b"body")
    assert problem(answer) == (400, "bad-parameter", "Idempotency-Key")
    assert json.loads(answer.body)["detail"] == "header Idempotency-Key must be 1 to 255 visible ASCII characters"
    assert front.calls == []


def test_two_keys_are_none(front: Front) -> None:
    answer = front.ask("POST /t", "Idempotency-Key: a", "Idempotency-Key: a", body=b"body")
    assert problem(answer) == (400, "bad-parameter", "Idempotency-Key")
    assert front.calls == []


def test_other_calls_have_no_use_for_a_key(front: Front) -> None:
    front.answers(Op.SUBSCRIBE, ops.Subscribed(True))
    assert front.ask("POST /t/u", "Idempotency-Key:").status == 200


def test_the_same_request_has_the_same_digest(front: Front) -> None:
    first = digest(front)
    assert digest(front) == first
    assert digest(front, "", "User-Agent: other", "X-Request-Id: 1", "Accept: */*") == first, "what is not kept"
    assert digest(front, "?delay=0") == first, "now is now"
    assert digest(front, "?ttl=60&delay=5") == digest(front, "?delay=5.0&ttl=60.000")
    assert digest(front, "", "Meta-A: 1", "Meta-B: 2") == digest(front, "", "Meta-B: 2", "Meta-A: 1")


def test_whatever_differs_shows_in_the_digest(front: Front) -> None:
    digests = [
        digest(front),
        digest(front, body=b""),
        digest(front, body=b"body "),
        digest(front, "", "Content-Type: text/plain"),
        digest(front, "", "Content-Type: text/html"),
        digest(front, "", "Meta-A: 1"),
        digest(front, "", "Meta-A: 2"),
        digest(front, "", "Meta-B: 1"),
        digest(front, "?ttl=5"),
        digest(front, "?ttl=6"),
        digest(front, "?delay=5"),
        digest(front, "?ttl=5&delay=5"),
        digest(front, "?batch=lines"),
        digest(front, "?batch=lines", body=b"body\n"),
        digest(front, "?batch=frames", body=b"\0\0\0\4body"),
        digest(front, "", body=b"\0\0\0\4body"),
    ]
    assert len(set(digests)) == len(digests)


def test_a_repeat_is_told_with_the_first_answer(front: Front) -> None:
    front.answers(Op.PUBLISH, ops.Published(3, "abc1", 7, replayed=True))
    answer = front.ask("POST /t", "Idempotency-Key: k", body=b"body")
    assert (answer.headers["idempotency-replayed"], answer.headers["msg-id"]) == ("true", "abc1-7")
    answer = front.ask("POST /t?batch=lines", "Idempotency-Key: k", body=b"a\nb")
    assert (answer.headers["idempotency-replayed"], answer.headers["msg-count"]) == ("true", "2")
    front.answers(Op.PUBLISH, ops.Published(0, "", 0, due_ms=1_700_000_000_123, replayed=True))
    answer = front.ask("POST /t?delay=5", "Idempotency-Key: k", body=b"body")
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.headers["msg-due"] == "2023-11-14T22:13:20.123Z"
    front.answers(Op.PUBLISH, ops.Published(0, "", 0, replayed=True))
    answer = front.ask("POST /t", "Idempotency-Key: k", body=b"body")
    assert (answer.headers["idempotency-replayed"], answer.headers["msg-subscribers"]) == ("true", "0")
    assert "msg-id" not in answer.headers


def test_a_batch_that_is_refused_is_not_published_with_a_key_either(front: Front) -> None:
    answer = front.ask("POST /t?batch=lines", "Idempotency-Key: k", body=b"\n" * (LIMITS.batch_messages + 1))
    assert problem(answer)[:2] == (400, "bad-batch")
    assert front.calls == []
