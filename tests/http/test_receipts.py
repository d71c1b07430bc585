"""Leases: how a message is delivered with one, and what becomes of receipts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.formats.batch import FRAMES
from httpfront.formats.ndjson import NDJSON
from tests.http.playing import LIMITS, Front, lines, problem

SECOND = 10**6
"""Microseconds."""
LEASE_RANGE = "must be a number of seconds from 1 to 43200, such as 20 or 2.5"


def message(attempt: int = 1) -> ops.Message:
    return ops.Message("abc1", 5, 1_700_000_000_000, attempt, 3, b"", b"body")


def refused_with(front: Front, line: str, *headers: str, parameter: str) -> str:
    """The detail of a bad-parameter that did nothing."""
    answer = front.ask(line, *headers)
    assert problem(answer) == (400, "bad-parameter", parameter)
    assert front.calls == []
    return str(json.loads(answer.body)["detail"])


# --- handing out


def test_a_leased_message_says_how_it_is_acknowledged(front: Front) -> None:
    front.answers(Op.TAKE, message(attempt=2))
    answer = front.ask("GET /t/u?lease=30")
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.headers["msg-id"] == "abc1-5"
    assert answer.headers["msg-attempt"] == "2"
    assert answer.headers["msg-receipt"] == "abc1-5.2"
    assert answer.headers["link"] == '</t/u/abc1-5.2>; rel="ack"'
    assert (answer.headers["msg-pending"], answer.headers["cache-control"]) == ("3", "no-store")
    assert front.args == ops.Take(lease=30 * SECOND)


@pytest.mark.parametrize("query", ["", "?after=0", "?wait=0"])
def test_a_message_that_is_not_leased_has_no_receipt(front: Front, query: str) -> None:
    front.answers(Op.TAKE, message())
    answer = front.ask(f"GET /t/u{query}")
    assert answer.status == 200
    assert not {"msg-receipt", "link"} & answer.headers.keys()
    assert front.args.lease == 0


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb/%C3%BC", "/%3E%3B%20rel=%22next%22%2C/u", "/50%25/%3Fx%23y", "/it's;a,(b)/%22", "/%2Facks/%E2%98%83"],
)
def test_the_link_leads_back_whatever_the_names_are(front: Front, path: str) -> None:
    front.answers(Op.TAKE, message())
    link = front.ask(f"GET {path}?lease=1").headers["link"]
    found = re.fullmatch(r'<(/[A-Za-z0-9%._~-]+/[A-Za-z0-9%._~-]+/abc1-5\.1)>; rel="ack"', link)
    assert found, link
    front.answers(Op.FINISH, ops.Finished([""]))
    assert front.ask(f"DELETE {found[1]}").status == 200
    taken, finished = front.calls
    assert (taken.topic, taken.user) == (finished.topic, finished.user)
    assert finished.args == ops.Finish([Receipt("abc1", 5, 1)])


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1", SECOND),
        ("1.000000", SECOND),
        ("1.5", 1_500_000),
        ("1.000001", 1_000_001),
        ("0030", 30 * SECOND),
        ("43199.999999", 43_199_999_999),
        ("43200", 43_200 * SECOND),
        ("43200.000000", 43_200 * SECOND),
    ],
)
def test_a_lease_reaches_the_broker_in_microseconds(front: Front, text: str, microseconds: int) -> None:
    assert front.ask(f"GET /t/u?lease={text}").status == 204
    assert front.args.lease == microseconds


@pytest.mark.parametrize(
    "text", ["0", "0.999999", "43200.000001", "43201", "9" * 18, "", "x", "-1", "1e3", "nan", "1.0000001", "+1", "30s"]
)
def test_a_lease_out_of_range_is_not_cut(front: Front, text: str) -> None:
    front.answers(Op.TAKE, message())
    assert refused_with(front, f"GET /t/u?lease={text.replace('+', '%2B')}", parameter="lease").endswith(LEASE_RANGE)


def test_a_lease_goes_with_a_wait(front: Front) -> None:
    answer = front.ask("GET /t/u?lease=30&wait=20")
    assert (answer.status, answer.headers["preference-applied"]) == (204, "wait=20")
    assert [each.op for each in front.calls] == [Op.TAKE, Op.WAIT]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("lease=30&after=0", []),
        ("after=abc1-4&lease=30", []),
        ("lease=30", ["Last-Event-ID: abc1-4"]),
        ("lease=30&max=10", ["Last-Event-ID: 0"]),
    ],
)
def test_a_lease_does_not_go_with_a_cursor(front: Front, query: str, headers: list[str]) -> None:
    refused_with(front, f"GET /t/u?{query}", *headers, parameter="lease")


@pytest.mark.parametrize("code", ["leases-out", "too-many-leases"])
def test_what_the_broker_refuses_is_told(front: Front, code: str) -> None:
    front.answers(Op.TAKE, FanmailError(code, "why"))
    answer = front.ask("GET /t/u?lease=30")
    assert problem(answer)[:2] == (409 if code == "leases-out" else 429, code)
    assert ("retry-after" in answer.headers) == (code == "too-many-leases")


# --- several at once


def test_several_leased_messages_are_lines_with_receipts(front: Front) -> None:
    runs = [
        ops.Run(3, 2, 1_700_000_000_000, b"", b"\0\0\0\1a\0\0\0\1b", attempt=2),
        ops.Run(9, 1, 1_700_000_000_000, b"", b"\0\0\0\1\xff"),
    ]
    front.answers(Op.FETCH, ops.Batch("abc1", 4, runs))
    answer = front.ask("GET /t/u?max=10&lease=30")
    assert [(each["id"], each["attempt"], each["receipt"]) for each in lines(answer)] == [
        ("abc1-3", 2, "abc1-3.2"),
        ("abc1-4", 2, "abc1-4.2"),
        ("abc1-9", 1, "abc1-9.1"),
    ]
    assert [each.get("text") for each in lines(answer)] == ["a", "b", None]
    headers = answer.headers
    assert (headers["msg-count"], headers["msg-first-id"], headers["msg-id"]) == ("3", "abc1-3", "abc1-9")
    assert not {"msg-receipt", "link"} & headers.keys()
    assert front.args == ops.Fetch(False, "", 0, 10, LIMITS.fetch_bytes, False, 30 * SECOND)


def test_several_that_are_not_leased_have_attempts_and_no_receipts(front: Front) -> None:
    front.answers(Op.FETCH, ops.Batch("abc1", 0, [ops.Run(3, 1, 0, b"", b"\0\0\0\1a", attempt=4)]))
    (line,) = lines(front.ask("GET /t/u?max=10"))
    assert (line["attempt"], "receipt" in line) == (4, False)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (FRAMES, 406),
        (f"{FRAMES}, {NDJSON};q=0", 406),
        ("text/html", 406),
        (f"{FRAMES}, {NDJSON};q=0.1", 204),
        (f"{FRAMES}, */*;q=0.1", 204),
        ("*/*", 204),
        (NDJSON, 204),
    ],
)
def test_frames_have_no_place_for_receipts(front: Front, accept: str, status: int) -> None:
    answer = front.ask("GET /t/u?max=10&lease=30", f"Accept: {accept}")
    assert answer.status == status
    if status == 406:
        assert problem(answer)[1] == "not-acceptable"
        assert json.loads(answer.body)["detail"] == f"with lease the available formats are {NDJSON}"
        assert front.calls == []
    else:
        assert front.args.one_run is False


def test_one_leased_message_is_given_whatever_is_accepted(front: Front) -> None:
    front.answers(Op.TAKE, message())
    assert front.ask("GET /t/u?lease=30", f"Accept: {FRAMES}").status == 200


# --- done


def test_a_receipt_is_acknowledged(front: Front) -> None:
    front.answers(Op.FINISH, ops.Finished([""]))
    answer = front.ask("DELETE /t/u/abc1-5.2")
    assert (answer.status, answer.body) == (200, b"")
    assert front.args == ops.Finish([Receipt("abc1", 5, 2)])


@pytest.mark.parametrize(
    ("code", "status", "parameter"),
    [
        ("lease-lost", 409, None),
        ("bad-parameter", 400, "receipt"),
        ("no-subscription", 404, None),
        ("of-tomorrow", 500, None),
    ],
)
def test_what_is_not_done_is_that_error(front: Front, code: str, status: int, parameter: str | None) -> None:
    front.answers(Op.FINISH, ops.Finished([code]))
    answer = front.ask("DELETE /t/u/abc1-5.2")
    assert problem(answer) == (status, code, parameter)
    assert json.loads(answer.body)["detail"]


@pytest.mark.parametrize("codes", [[], ["", ""]])
def test_results_that_do_not_match_are_an_error_and_no_success(front: Front, codes: list[str]) -> None:
    front.answers(Op.FINISH, ops.Finished(codes))
    assert problem(front.ask("DELETE /t/u/abc1-5.2"))[:2] == (500, "internal")


BROKEN = [
    *("x", "abc1", "abc1-5", "abc1-5.", "abc1-5.0", "abc1-5.02", "abc1-0.1", "abc1-05.1", "abc1-.1", "-5.1", "5.1"),
    *("ABC1-5.1", "abg1-5.1", "abc1-5.1.1", "abc1-5,1", "abc1-5.+1", "abc1-5.1e1", "abc1--5.1", "abc1-5.-1", "0"),
    *("f" * 65 + "-5.1", "abc1-" + "9" * 19 + ".1", "abc1-5." + "9" * 19),
]


@pytest.mark.parametrize("receipt", [*BROKEN, "%20abc1-5.1", "abc1-5.1%0A", "abc1%2D5.1", "%FF", "%"])
def test_what_is_no_receipt_is_refused(front: Front, receipt: str) -> None:
    refused_with(front, f"DELETE /t/u/{receipt}", parameter="receipt")
    refused_with(front, f"PATCH /t/u/{receipt}?lease=30", parameter="receipt")


@pytest.mark.parametrize("receipt", ["f" * 64 + "-" + "9" * 18 + "." + "9" * 18, "0-1.1"])
def test_the_longest_and_the_shortest_receipt_are_read(front: Front, receipt: str) -> None:
    front.answers(Op.FINISH, ops.Finished([""]))
    assert front.ask(f"DELETE /t/u/{receipt}").status == 200
    (read,) = front.args.receipts
    assert f"{read.epoch}-{read.seq}.{read.attempt}" == receipt


def test_acknowledging_takes_no_parameters(front: Front) -> None:
    refused_with(front, "DELETE /t/u/abc1-5.1?lease=0", parameter="lease")
    answer = front.ask("POST /t/u/acks?batch=lines", body=b"abc1-5.1")
    assert problem(answer) == (400, "bad-parameter", "batch")
    assert front.calls == []


# --- longer, or given back


@pytest.mark.parametrize(
    ("query", "args"),
    [
        ("lease=30", {"lease": 30 * SECOND}),
        ("lease=1", {"lease": SECOND}),
        ("lease=43200", {"lease": 43_200 * SECOND}),
        ("lease=0", {"lease": 0}),
        ("lease=0.000", {"lease": 0}),
        ("lease=0&delay=0", {"lease": 0}),
        ("delay=2.5&lease=0", {"lease": 0, "delay": 2_500_000}),
        ("lease=0&delay=0.000001", {"lease": 0, "delay": 1}),
        ("lease=0&delay=43200", {"lease": 0, "delay": 43_200 * SECOND}),
    ],
)
def test_a_lease_is_extended_or_ended(front: Front, query: str, args: dict[str, Any]) -> None:
    front.answers(Op.EXTEND, ops.Nothing())
    answer = front.ask(f"PATCH /t/u/abc1-5.2?{query}")
    assert (answer.status, answer.body) == (200, b"")
    assert front.args == ops.Extend(Receipt("abc1", 5, 2), **args)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "lease"),
        ("?delay=5", "lease"),
        ("?lease=", "lease"),
        ("?lease=0.5", "lease"),
        ("?lease=43201", "lease"),
        ("?lease=-1", "lease"),
        ("?lease=30&delay=5", "delay"),
        ("?lease=30&delay=0", "delay"),
        ("?lease=0&delay=43200.1", "delay"),
        ("?lease=0&delay=-1", "delay"),
        ("?lease=0&wait=5", "wait"),
        ("?lease=0&lease=0", "lease"),
    ],
)
def test_an_extension_that_is_not_clear_does_nothing(front: Front, query: str, parameter: str) -> None:
    refused_with(front, f"PATCH /t/u/abc1-5.2{query}", parameter=parameter)


def test_the_ranges_of_an_extension_are_told(front: Front) -> None:
    detail = refused_with(front, "PATCH /t/u/abc1-5.2?lease=0.5", parameter="lease")
    assert detail == "parameter 'lease' must be 0 or a number of seconds from 1 to 43200, such as 20 or 2.5"
    detail = refused_with(front, "PATCH /t/u/abc1-5.2?lease=0&delay=43201", parameter="delay")
    assert detail == "parameter 'delay' must be a number of seconds from 0 to 43200, such as 20 or 2.5"


def test_a_lost_lease_is_not_extended(front: Front) -> None:
    front.answers(Op.EXTEND, FanmailError("lease-lost", "why"))
    assert problem(front.ask("PATCH /t/u/abc1-5.2?lease=30"))[:2] == (409, "lease-lost")


# --- many receipts


@pytest.mark.parametrize(
    "body",
    [
        b"abc1-5.1\nabc1-6.2\n",
        b"abc1-5.1\nabc1-6.2",
        b"abc1-5.1\r\nabc1-6.2\r\n",
        b"abc1-5.1\r\nabc1-6.2",
        b"abc1-5.1\nabc1-6.2\r",
    ],
)
def test_receipts_are_read_a_line_each(front: Front, body: bytes) -> None:
    front.answers(Op.FINISH, ops.Finished(["", ""]))
    answer = front.ask("POST /t/u/acks", body=body)
    assert lines(answer) == [{"receipt": "abc1-5.1", "done": True}, {"receipt": "abc1-6.2", "done": True}]
    assert (answer.status, answer.headers["msg-count"]) == (200, "2")
    assert front.args == ops.Finish([Receipt("abc1", 5, 1), Receipt("abc1", 6, 2)])


def test_every_receipt_has_its_own_result_in_order(front: Front) -> None:
    front.answers(Op.FINISH, ops.Finished(["lease-lost", "", "bad-parameter", "of-tomorrow"]))
    answer = front.ask("POST /t/u/acks", body=b"abc1-5.1\nabc1-6.1\nabc1-7.1\nabc1-5.1\n")
    assert lines(answer) == [
        {"receipt": "abc1-5.1", "done": False, "code": "lease-lost"},
        {"receipt": "abc1-6.1", "done": True},
        {"receipt": "abc1-7.1", "done": False, "code": "bad-parameter"},
        {"receipt": "abc1-5.1", "done": False, "code": "of-tomorrow"},
    ]
    assert (answer.status, answer.headers["msg-count"]) == (200, "1")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        *((each.encode(), 1) for each in BROKEN),
        (b"\n", 1),
        (b"\r\n", 1),
        (b"\nabc1-5.1", 1),
        (b"abc1-5.1\n\n", 2),
        (b"abc1-5.1\n\nabc1-6.1\n", 2),
        (b"abc1-5.1\r\r\n", 1),
        (b"abc1-5.1\rabc1-6.1\n", 1),
        (b"abc1-5.1\n abc1-6.1", 2),
        (b"abc1-5.1 \n", 1),
        (b"abc1-5.1\nabc1-6.1\nabc1-7\n", 3),
        (b"abc1-5.1\n\xff", 2),
        (b"abc1-5.1\n\0", 2),
        (b"abc1-5.1\nabc1-6.1\x85", 2),
        ("abc1-5.\u0661".encode(), 1),
    ],
)
def test_a_line_that_is_no_receipt_acknowledges_nothing(front: Front, body: bytes, line: int) -> None:
    answer = front.ask("POST /t/u/acks", body=body)
    assert problem(answer)[:2] == (400, "bad-batch")
    assert json.loads(answer.body)["detail"].startswith(f"line {line} ")
    assert front.calls == []


def test_there_is_a_receipt_at_least_and_there_are_not_too_many(front: Front) -> None:
    assert problem(front.ask("POST /t/u/acks"))[:2] == (400, "bad-batch")
    most = LIMITS.batch_messages
    for end in (b"", b"\n"):
        answer = front.ask("POST /t/u/acks", body=b"\n".join([b"abc1-5.1"] * (most + 1)) + end)
        assert problem(answer)[:2] == (400, "bad-batch")
        assert f"over {most} receipts" in json.loads(answer.body)["detail"]
    assert front.calls == []
    front.answers(Op.FINISH, ops.Finished([""] * most))
    for end in (b"", b"\n"):
        assert front.ask("POST /t/u/acks", body=b"\n".join([b"abc1-5.1"] * most) + end).status == 200


def test_an_error_of_the_whole_call_is_no_result(front: Front) -> None:
    front.answers(Op.FINISH, FanmailError("no-subscription", "why"))
    assert problem(front.ask("POST /t/u/acks", body=b"abc1-5.1"))[:2] == (404, "no-subscription")
