"""Which path reaches which call: three segments go by the last one, and no name of a topic or user is reserved."""

from __future__ import annotations

import json

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.http.playing import Front, problem

RECEIPT = "abc1-5.2"


def answer_everything(front: Front) -> None:
    front.answers(Op.SUBSCRIBE, ops.Subscribed(True))
    front.answers(Op.PUBLISH, ops.Published(1, "abc1", 1))
    front.answers(Op.FINISH, ops.Finished([""]))
    front.answers(Op.DEAD_LIST, ops.DeadLetters("abc1", 0, []))
    front.answers(Op.DEAD_RETURN, ops.Counted(0))
    front.answers(Op.DEAD_CLEAR, ops.Counted(0))


@pytest.mark.parametrize(
    ("line", "op", "topic", "user"),
    [
        ("POST /acks", Op.PUBLISH, b"acks", b""),
        ("POST /dead/acks", Op.SUBSCRIBE, b"dead", b"acks"),
        ("GET /acks/dead", Op.TAKE, b"acks", b"dead"),
        ("PATCH /acks/dead?max_deliveries=1", Op.CONFIGURE, b"acks", b"dead"),
        (f"POST /t/{RECEIPT}", Op.SUBSCRIBE, b"t", RECEIPT.encode()),
        (f"DELETE /t/u/{RECEIPT}", Op.FINISH, b"t", b"u"),
        (f"DELETE /dead/acks/{RECEIPT}", Op.FINISH, b"dead", b"acks"),
        (f"DELETE /a%2Fb/%E2%98%83/{RECEIPT}", Op.FINISH, b"a/b", "\u2603".encode()),
        (f"PATCH /t/u/{RECEIPT}?lease=1", Op.EXTEND, b"t", b"u"),
        ("GET /dead/dead/dead", Op.DEAD_LIST, b"dead", b"dead"),
        ("POST /t/u/dead", Op.DEAD_RETURN, b"t", b"u"),
        ("DELETE /t/u/dead", Op.DEAD_CLEAR, b"t", b"u"),
        ("DELETE http://test/t/u/dead", Op.DEAD_CLEAR, b"t", b"u"),
    ],
)
def test_a_call_goes_by_its_shape(front: Front, line: str, op: Op, topic: bytes, user: bytes) -> None:
    answer_everything(front)
    assert front.ask(line).status in (200, 204)
    ((called, *names, _, _),) = front.calls
    assert (called, *names) == (op, topic, user)


def test_acks_are_posted(front: Front) -> None:
    answer_everything(front)
    assert front.ask("POST /acks/acks/acks", body=RECEIPT.encode()).status == 200
    assert [(each.op, each.topic, each.user) for each in front.calls] == [(Op.FINISH, b"acks", b"acks")]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/t/u", "DELETE, GET, HEAD, PATCH, POST"),
        (f"/t/u/{RECEIPT}", "DELETE, PATCH"),
        ("/t/u/anything", "DELETE, PATCH"),
        ("/t/u/acks", "POST"),
        ("/t/u/dead", "DELETE, GET, HEAD, POST"),
    ],
)
def test_other_methods_are_refused_with_those_that_are_allowed(front: Front, path: str, allow: str) -> None:
    listed = ", ".join(sorted([*allow.split(", "), "OPTIONS"]))
    assert front.ask(f"OPTIONS {path}?cors=1").headers["allow"] == listed
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"} - set(allow.split(", ")):
        answer = front.ask(f"{method} {path}")
        assert (answer.status, answer.headers["allow"]) == (405, listed), method
        if method == "GET":
            assert answer.headers["cache-control"] == "no-store"
    assert front.calls == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH", "PUT"])
@pytest.mark.parametrize("path", ["/t/u/", "//t/u", "/t//u", f"/t//{RECEIPT}", "/t//dead", "//u/acks", "///"])
def test_an_empty_segment_is_no_name_and_no_receipt(front: Front, method: str, path: str) -> None:
    assert problem(front.ask(f"{method} {path}"))[:2] == (400, "bad-name")
    assert front.calls == []


@pytest.mark.parametrize("name", ["%FF", "..", "%2E", "a%00b", "x" * 256, "%zz"])
def test_names_before_a_third_segment_are_checked_like_others(front: Front, name: str) -> None:
    for rest in (RECEIPT, "dead"):
        assert problem(front.ask(f"DELETE /{name}/u/{rest}"))[:2] == (400, "bad-name")
        assert problem(front.ask(f"DELETE /t/{name}/{rest}"))[:2] == (400, "bad-name")
    assert front.calls == []


@pytest.mark.parametrize("word", ["%64ead", "DEAD", "dead%20", "ack", "acks.", "Acks"])
def test_our_words_are_literal(front: Front, word: str) -> None:
    assert problem(front.ask(f"DELETE /t/u/{word}")) == (400, "bad-parameter", "receipt")
    assert front.calls == []


@pytest.mark.parametrize("path", ["/a/b/c/d", "/t/u/dead/x", f"/t/u/acks/{RECEIPT}", "/t/u/dead/"])
def test_longer_paths_have_nothing(front: Front, path: str) -> None:
    assert problem(front.ask(f"POST {path}"))[:2] == (404, "no-route")


def test_the_index_names_every_shape(front: Front) -> None:
    calls = json.loads(front.ask("GET /").body)["calls"]
    for call in (
        *("PATCH /{topic}/{user}", "HEAD /{topic}/{user}", "POST /{topic}/{user}/acks", "GET /{topic}/{user}/dead"),
        *("DELETE /{topic}/{user}/{receipt}", "PATCH /{topic}/{user}/{receipt}"),
    ):
        assert calls[call]
