"""`/-/v1/slots` of the operations port, with brokers that a test answers for."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest
from falcon.testing import TestClient

from common.errors import FanmailError
from common.protocol import move_ops
from common.protocol.move_ops import MoveRow, SlotRun, SlotSize, SlotTable
from common.protocol.ops import Op
from httpfront.admin.app import Observed, create_admin_app
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.api.parts import AppParts
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.streams.table import StreamTable
from tests.http.playing import sessions_of

LIMITS = MessageLimits(1000, 1000, 10, 10, 1000)
DOWN = FanmailError("broker-down", "broker b2 of this topic is not reachable")
MOVE = MoveRow(7, "b1", "b0", 9, "leaving", 3, 400)


class Brokers:
    """In the place of the gateway: b0 has slots 0 to 999, b1 the others, b2 does not answer."""

    def __init__(self) -> None:
        rest = (3, "digest", 1)
        sizes = [SlotSize(5, 1, 10, 100)]
        self.tables = {
            "b0": SlotTable("b0", "serving", *rest, [SlotRun(0, 999, 1)], [], [MOVE], sizes, 6),
            "b1": SlotTable("b1", "serving", *rest, [SlotRun(1000, 1023, 2)], [], [], [], 1024, True),
        }
        self.asked: list[Any] = []

    def brokers(self) -> dict[str, bool]:
        return {"b0": True, "b1": True, "b2": False}

    def owners(self) -> list[str]:
        return ["b0"] * 1000 + ["b1"] * 24

    def ask_all(self, op: Op, args: Any, timeout: float, brokers: Collection[str] = ()) -> dict[str, Any]:
        self.asked.append((op, args, brokers))
        ids = brokers or self.brokers()
        if op is Op.SLOTS and args.sizes_from > 0:
            return {"b0": SlotTable("b0", "serving", 3, "", 1, [], [], [], [SlotSize(9, 2, 20, 200)], 1024)}
        answers: dict[Op, Any] = {Op.MOVE: MOVE, Op.MOVE_ABORT: MOVE, Op.MOVES_PAUSE: object()}
        return {each: DOWN if each == "b2" else answers.get(op) or self.tables[each] for each in ids}


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


def ask(brokers: Brokers, method: str, target: str) -> tuple[int, Any]:
    gateway: Any = brokers
    streams = StreamTable(gateway, 100)
    parts = AppParts(gateway, LongPoll(gateway, 30, 10), streams, sessions_of(streams), LIMITS, max_name=255)
    path, _, query = target.partition("?")
    client = TestClient(create_admin_app(parts, Observed(FrontMetrics())))
    answer = client.simulate_request(method, path, query_string=query, extras={"REQUEST_URI": target})
    return answer.status_code, json.loads(answer.content)


def test_the_slots_of_every_broker_and_what_is_in_them(brokers: Brokers) -> None:
    status, found = ask(brokers, "GET", "/-/v1/slots")
    assert status == 200
    b0, b1, b2 = found["brokers"]
    assert (b0["slots"], b0["count"], b0["topics"], b0["messages"], b0["bytes"]) == ("0-999", 1000, 3, 30, 300)
    assert (b1["slots"], b1["paused"], b2["status"], b2["count"]) == ("1000-1023@2", True, "unreachable", 0)
    assert found["moves"] == [
        {"slot": 7, "from": "b0", "to": "b1", "move": 9, "state": "leaving", "records": 3, "bytes": 400, "reason": ""}
    ]
    assert found["unowned"] == ""
    assert [args.sizes_from for op, args, _ in brokers.asked] == [0, 6]
    ask(brokers, "GET", "/-/v1/slots?sizes=0")
    assert brokers.asked[-1][1].sizes_from == -1


def test_brokers_in_memory_own_what_the_description_gives_them(brokers: Brokers) -> None:
    for table in brokers.tables.values():
        table.status, table.owned = "memory", []
    _, found = ask(brokers, "GET", "/-/v1/slots?sizes=0")
    assert [each["count"] for each in found["brokers"]] == [1000, 24, 0]
    assert found["unowned"] == ""
    status, refusal = ask(brokers, "GET", "/-/v1/slots/plan?drain=b1")
    assert (status, refusal["code"]) == (409, "move-refused")
    assert refusal["detail"].startswith("broker b0 keeps its messages in memory")


def test_a_plan_names_every_move_and_their_sums(brokers: Brokers) -> None:
    status, plan = ask(brokers, "GET", "/-/v1/slots/plan?slots=5,9,1000&to=b1")
    assert status == 200
    assert plan["moves"] == [{"slot": 5, "from": "b0", "to": "b1"}, {"slot": 9, "from": "b0", "to": "b1"}]
    assert [(each["count"], each["bytes"]) for each in plan["groups"]] == [(2, 300)]
    _, plan = ask(brokers, "GET", "/-/v1/slots/plan?drain=b1")
    assert {(each["from"], each["to"]) for each in plan["moves"]} == {("b1", "b0")}
    assert len(plan["moves"]) == 24


def test_moves_are_begun_asked_for_and_ended(brokers: Brokers) -> None:
    assert ask(brokers, "PUT", "/-/v1/slots/7/move?to=b1")[1]["state"] == "leaving"
    assert brokers.asked[-1] == (Op.MOVE, move_ops.MoveSlot(7, "b1"), ["b0"])
    _, found = ask(brokers, "GET", "/-/v1/slots/7/move")
    assert (found["owner"], found["move"]["state"]) == ("b0", "leaving")
    assert ask(brokers, "GET", "/-/v1/slots/8/move")[1] == {"slot": 8, "owner": "b0", "move": None}
    assert ask(brokers, "DELETE", "/-/v1/slots/7/move")[0] == 200
    assert brokers.asked[-1] == (Op.MOVE_ABORT, move_ops.AbortMove(7), ["b0"])


def test_moves_are_paused_at_all_brokers(brokers: Brokers) -> None:
    assert ask(brokers, "PUT", "/-/v1/slots/pause") == (200, {"paused": True, "missing": ["b2"]})
    assert brokers.asked[-1][1] == move_ops.PauseMoves(True)
    assert ask(brokers, "DELETE", "/-/v1/slots/pause")[1]["paused"] is False


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("PUT", "/-/v1/slots/1024/move?to=b1", 400, "bad-name"),
        ("PUT", "/-/v1/slots/x/move?to=b1", 400, "bad-name"),
        ("PUT", "/-/v1/slots/7/move", 400, "bad-parameter"),
        ("PUT", "/-/v1/slots/7/move?to=b9", 400, "bad-parameter"),
        ("PUT", "/-/v1/slots/7/move?to=b0", 409, "move-refused"),
        ("GET", "/-/v1/slots/plan?add=b9", 400, "bad-parameter"),
        ("GET", "/-/v1/slots/plan?slots=7", 400, "bad-parameter"),
        ("GET", "/-/v1/slots/plan?slots=7-x&to=b1", 400, "bad-parameter"),
    ],
)
def test_what_makes_no_sense_is_refused(brokers: Brokers, method: str, target: str, status: int, code: str) -> None:
    answered, problem = ask(brokers, method, target)
    assert (answered, problem["code"]) == (status, code)


def test_a_broker_that_cannot_be_asked_is_said(brokers: Brokers) -> None:
    brokers.owners = lambda: ["b2"] * 1024  # type: ignore[method-assign]
    assert ask(brokers, "PUT", "/-/v1/slots/7/move?to=b1")[1]["code"] == "broker-down"
