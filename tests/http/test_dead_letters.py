"""Dead letters: listed a page at a time, put back, dropped."""

from __future__ import annotations

import json

import pytest

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.metadata import pack_headers
from tests.http.playing import LIMITS, Front, lines, problem


def letter(seq: int, body: bytes = b"body", headers: bytes = b"", expired: bool = False) -> ops.DeadLetter:
    return ops.DeadLetter(seq, 1_700_000_000_000, 3, headers, body, expired)


def test_letters_are_lines_like_those_of_a_fetch(front: Front) -> None:
    headers = pack_headers([("content-type", "text/plain"), ("meta-a", "ä".encode().decode("latin-1"))])
    letters = [letter(5, b"hi\n", headers), letter(9, b"\xff", expired=True)]
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, letters))
    answer = front.ask("GET /t/u/dead")
    same = {"time": "2023-11-14T22:13:20.000Z", "attempt": 3}
    assert lines(answer) == [
        same | {"id": "abc1-5", "type": "text/plain", "meta": {"meta-a": "ä"}, "text": "hi\n"},
        same | {"id": "abc1-9", "type": "application/octet-stream", "expired": True, "base64": "/w=="},
    ]
    assert (answer.status, answer.headers["msg-count"], answer.headers["msg-pending"]) == (200, "2", "0")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "link" not in answer.headers
    assert front.args == ops.ListDead(0, LIMITS.fetch, LIMITS.fetch_bytes)


def test_head_is_a_list_without_its_lines(front: Front) -> None:
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 2, [letter(5)]))
    got, head = front.ask("GET /t/u/dead"), front.ask("HEAD /t/u/dead")
    same = ("msg-count", "msg-pending", "link", "content-type", "content-length", "content-security-policy")
    assert [head.headers[name] for name in same] == [got.headers[name] for name in same]
    assert (head.status, head.body, len(front.calls)) == (200, b"", 2)


def test_no_letters_are_an_empty_list_and_not_an_error(front: Front) -> None:
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, []))
    answer = front.ask("GET /t/u/dead")
    assert (answer.status, answer.body, lines(answer)) == (200, b"", [])
    assert (answer.headers["msg-count"], answer.headers["msg-pending"]) == ("0", "0")
    assert "link" not in answer.headers


@pytest.mark.parametrize("path", ["/t/u", "/a%2Fb/%3E%E2%98%83", "/50%25/%22"])
def test_a_page_leads_to_the_next(front: Front, path: str) -> None:
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 7, [letter(5), letter(9)]))
    answer = front.ask(f"GET {path}/dead?max=2")
    assert answer.headers["msg-pending"] == "7"
    assert answer.headers["link"] == f'<{path}/dead?after=abc1-9>; rel="next"'
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, [letter(11)]))
    following = answer.headers["link"].partition(">")[0].removeprefix("<")
    assert [each["id"] for each in lines(front.ask(f"GET {following}"))] == ["abc1-11"]
    first, second = front.calls
    assert (first.topic, first.user) == (second.topic, second.user)
    assert (first.args.after, first.args.max) == (0, 2)
    assert (second.args.after, second.args.max) == (9, LIMITS.fetch)


@pytest.mark.parametrize(
    ("query", "after", "most"),
    [
        ("after=0", 0, LIMITS.fetch),
        ("after=abc1-5", 5, LIMITS.fetch),
        ("max=1", 0, 1),
        (f"max={LIMITS.fetch}", 0, LIMITS.fetch),
        (f"max={LIMITS.fetch + 1}", 0, LIMITS.fetch),
        ("max=3&after=abc1-5", 5, 3),
    ],
)
def test_the_page_reaches_the_broker(front: Front, query: str, after: int, most: int) -> None:
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, []))
    assert front.ask(f"GET /t/u/dead?{query}").status == 200
    assert front.args == ops.ListDead(after, most, LIMITS.fetch_bytes)


@pytest.mark.parametrize(
    "query", ["max=0", "max=", "max=1.5", "after=", "after=5", "after=abc1-5.1", "wait=1", "lease=1", "after=0&after=0"]
)
def test_a_bad_parameter_lists_nothing(front: Front, query: str) -> None:
    assert problem(front.ask(f"GET /t/u/dead?{query}")) == (400, "bad-parameter", query.partition("=")[0])
    assert front.calls == []


def test_a_cursor_of_another_life_is_lost(front: Front) -> None:
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc2", 0, [letter(5)]))
    answer = front.ask("GET /t/u/dead?after=abc1-4")
    assert problem(answer)[:2] == (410, "cursor-lost")
    assert answer.headers["cache-control"] == "no-store"
    assert "abc2" in json.loads(answer.body)["detail"]
    assert front.ask("GET /t/u/dead?after=0").status == 200
    assert front.ask("GET /t/u/dead?after=abc2-4").status == 200


@pytest.mark.parametrize(("method", "op"), [("POST", Op.DEAD_RETURN), ("DELETE", Op.DEAD_CLEAR)])
def test_all_are_put_back_or_dropped_and_counted(front: Front, method: str, op: Op) -> None:
    front.answers(op, ops.Counted(17))
    answer = front.ask(f"{method} /t/u/dead", body=b"ignored" if method == "POST" else b"")
    assert (answer.status, answer.body, answer.headers["msg-count"]) == (200, b"", "17")
    assert [each.op for each in front.calls] == [op]
    assert problem(front.ask(f"{method} /t/u/dead?max=1")) == (400, "bad-parameter", "max")
    assert len(front.calls) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_subscription_there_is_no_dead_list(front: Front, method: str) -> None:
    for op in (Op.DEAD_LIST, Op.DEAD_RETURN, Op.DEAD_CLEAR):
        front.answers(op, FanmailError("no-subscription", "why"))
    assert problem(front.ask(f"{method} /t/u/dead"))[:2] == (404, "no-subscription")
