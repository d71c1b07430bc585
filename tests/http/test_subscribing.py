"""Settings of a subscription, and its status."""

from __future__ import annotations

import json

import pytest

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from tests.http.playing import Front, problem

SECOND = 10**6
YEAR = 365 * 86_400


@pytest.fixture
def front(front: Front) -> Front:
    front.answers(Op.SUBSCRIBE, ops.Subscribed(True))
    front.answers(Op.CONFIGURE, ops.Nothing())
    return front


@pytest.mark.parametrize("created", [True, False])
def test_a_plain_subscribe_leaves_the_settings_alone(front: Front, created: bool) -> None:
    front.answers(Op.SUBSCRIBE, ops.Subscribed(created))
    answer = front.ask("POST /t/u", body=b"ignored")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["subscription-created"] == str(created).lower()
    assert front.args == ops.Settings(None, None)


GOOD = [
    ("expires_after=0", 0, None),
    ("expires_after=0.0", 0, None),
    ("expires_after=1", SECOND, None),
    ("expires_after=1.5", 1_500_000, None),
    (f"expires_after={YEAR}", YEAR * SECOND, None),
    ("max_deliveries=0", None, 0),
    ("max_deliveries=5", None, 5),
    ("max_deliveries=1000000", None, 1_000_000),
    ("max_deliveries=3&expires_after=60", 60 * SECOND, 3),
]
BAD = [
    *(f"expires_after={text}" for text in ("", "0.5", "0.999999", f"{YEAR}.000001", f"{YEAR + 1}", "-1", "off", "1e3")),
    *(f"max_deliveries={text}" for text in ("", "1000001", "-1", "1.0", "01", "x", "9" * 18, "9" * 30)),
    *("lease=30", "wait=1", "max_deliverys=1"),
    "max_deliveries=1&max_deliveries=1",
]


@pytest.mark.parametrize("call", ["POST", "PATCH"])
@pytest.mark.parametrize(("query", "expires_after", "max_deliveries"), GOOD)
def test_what_is_named_is_set(
    front: Front, call: str, query: str, expires_after: int | None, max_deliveries: int | None
) -> None:
    answer = front.ask(f"{call} /t/u?{query}")
    assert (answer.status, answer.body) == (200, b"")
    assert ("subscription-created" in answer.headers) == (call == "POST")
    assert [each.op for each in front.calls] == [Op.SUBSCRIBE if call == "POST" else Op.CONFIGURE]
    assert front.args == ops.Settings(expires_after, max_deliveries)


@pytest.mark.parametrize("call", ["POST", "PATCH"])
@pytest.mark.parametrize("query", BAD)
def test_what_is_out_of_range_sets_nothing(front: Front, call: str, query: str) -> None:
    assert problem(front.ask(f"{call} /t/u?{query}")) == (400, "bad-parameter", query.partition("=")[0])
    assert front.calls == []


def test_the_ranges_are_told(front: Front) -> None:
    def detail(query: str) -> str:
        return str(json.loads(front.ask(f"POST /t/u?{query}").body)["detail"])

    assert detail("max_deliveries=-1") == "parameter 'max_deliveries' must be a whole number from 0 to 1000000"
    allowed = f"must be 0 or a number of seconds from 1 to {YEAR}, such as 20 or 2.5"
    assert detail("expires_after=0.5") == f"parameter 'expires_after' {allowed}"


@pytest.mark.parametrize("query", ["", "?"])
def test_a_change_changes_something(front: Front, query: str) -> None:
    answer = front.ask(f"PATCH /t/u{query}")
    assert problem(answer)[:2] == (400, "bad-parameter")
    assert "expires_after, max_deliveries" in json.loads(answer.body)["detail"]
    assert front.calls == []


def test_a_change_makes_no_subscription(front: Front) -> None:
    front.answers(Op.CONFIGURE, FanmailError("no-subscription", "why"))
    assert problem(front.ask("PATCH /t/u?max_deliveries=5"))[:2] == (404, "no-subscription")


def test_a_head_says_how_the_subscription_stands(front: Front) -> None:
    front.answers(Op.LOOK, ops.Status(2, "abc1", 7, leased=3, dead=4))
    headers = front.ask("HEAD /t/u").headers
    assert (headers["msg-pending"], headers["msg-leased"], headers["msg-dead"]) == ("2", "3", "4")
    assert (headers["msg-id"], headers["cache-control"]) == ("abc1-7", "no-store")
    front.answers(Op.LOOK, ops.Status(0, "abc1", 0))
    headers = front.ask("HEAD /t/u").headers
    assert (headers["msg-pending"], headers["msg-leased"], headers["msg-dead"]) == ("0", "0", "0")
    assert "msg-id" not in headers
