"""What a broker's log says of requests: ids, codes and times; never names and bodies."""

from __future__ import annotations

import itertools
import json
import logging
from typing import Any

import pytest

from broker.dispatch import dispatcher
from broker.dispatch.request_log import MOST_IDS, SLOW_US, RequestLog
from common.process.log import JsonFormatter
from common.protocol import ops, wire
from common.protocol.ops import OPS, Op
from tests.support.driver import Asked, BrokerDriver

TOPIC, USER, BODY = b"Zx9topic", b"Zx9user", b"Zx9body"
LOG = logging.getLogger("fanmail.broker")


@pytest.fixture
def at_debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "fanmail.broker")
    return caplog


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """As the process would write them."""
    found = [json.loads(JsonFormatter("b0").format(each)) for each in caplog.records]
    caplog.clear()
    return [{key: value for key, value in each.items() if key not in ("time", "process")} for each in found]


def told(operation: str, code: str, request_id: str, took: int = 0) -> dict[str, Any]:
    about = {"operation": operation, "code": code, "request_id": request_id, "duration_us": took}
    return {"level": "debug", "event": "operation"} | about


def test_at_debug_every_operation_has_a_line_with_its_id_and_code(at_debug: pytest.LogCaptureFixture) -> None:
    broker = BrokerDriver(read=itertools.count(0, 7_000).__next__)
    broker.send(
        Asked(Op.SUBSCRIBE, TOPIC, USER, request_id="r1"),
        Asked(Op.PUBLISH, TOPIC, args=ops.Publish(b"", BODY), request_id="r2"),
        Asked(Op.TAKE, TOPIC, b"nobody", request_id="r3"),
        Asked(Op.TAKE, TOPIC, USER, timeout=-1, request_id="r4"),
        Asked(Op.TAKE, TOPIC, request_id="r5"),
        Asked(Op.WAIT, TOPIC, USER, ops.Wait(), request_id="r6"),
        Asked(Op.LOOK, TOPIC, USER),
    )
    assert lines(at_debug) == [
        told("subscribe", "", "r1", 7),
        told("publish", "", "r2", 7),
        told("take", "no-subscription", "r3", 7),
        told("take", "expired", "r4", 7),
        told("take", "bad-request", "r5", 7),
        told("wait", "", "r6", 7),
        told("look", "", "", 7),
    ]


def test_pings_are_passed_over_and_what_is_not_known_has_no_name(at_debug: pytest.LogCaptureFixture) -> None:
    broker = BrokerDriver()
    broker.ask(Op.PING, args=ops.Ping("fanmail", "b0"))
    unknown = wire._encode((5, 99, b"", b"", 0, [], "r1"))
    broker.handle([wire.pack_requests(broker.identity.incarnation, 1, [unknown])])
    assert lines(at_debug) == [told("unknown", "bad-request", "r1")]


def test_above_debug_nothing_is_said_of_single_operations(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fanmail.broker")
    broker = BrokerDriver(read=lambda: pytest.fail("a clock is read"))
    broker.send(Asked(Op.SUBSCRIBE, TOPIC, USER, request_id="r1"), Asked(Op.TAKE, TOPIC, b"nobody", request_id="r2"))
    assert lines(caplog) == []


def test_names_and_bodies_are_in_no_line(at_debug: pytest.LogCaptureFixture) -> None:
    broker = BrokerDriver()
    for op in Op:
        args = {Op.PUBLISH: ops.Publish(b"Zx9headers", BODY, 1, b"", 0, 0, b"Zx9key", b"d" * 16)}.get(op)
        for user in (USER, b""):
            packed = wire._encode((5, int(op), TOPIC, user, 2**62, args or [], "r1"))
            broker.handle([wire.pack_requests(broker.identity.incarnation, 1, [packed])])
    found = lines(at_debug)
    assert len(found) >= 2 * len(OPS) - 2
    assert "zx9" not in json.dumps(found).lower()


def test_an_operation_that_fails_names_the_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("as asked")

    op, name, spec, _ = dispatcher._KNOWN[Op.LOOK]
    monkeypatch.setitem(dispatcher._KNOWN, int(Op.LOOK), (op, name, spec, fail))
    assert BrokerDriver().send(Asked(Op.LOOK, TOPIC, USER, request_id="r1"))[0].code == "internal"
    (line,) = lines(caplog)
    assert (line["event"], line["level"]) == ("operation failed", "error")
    assert (line["operation"], line["request_id"]) == ("look", "r1")
    assert "as asked" in line["exception"]
    assert "Zx9" not in json.dumps(line)


def test_a_slow_message_is_read_again_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    broker = BrokerDriver()
    asked = [Asked(Op.LOOK, TOPIC, USER, request_id=f"r{n}") for n in range(20)]
    RequestLog().slow_message(broker.frames([*asked, Asked(Op.TAKE, TOPIC, USER)]), SLOW_US + 1)
    (line,) = lines(caplog)
    assert (line["event"], line["level"], line["duration_ms"]) == ("slow operations", "warning", 250)
    assert line["operations"] == {"look": 20, "take": 1}
    assert line["request_ids"] == [f"r{n}" for n in range(MOST_IDS)]
    RequestLog().slow_message([b"?"], SLOW_US + 1)
    assert lines(caplog)[0]["operations"] == {}


def test_dropped_replies_are_told_of_once_with_the_last_ids(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog()
    log.report_dropped(0)
    log.dropped(["", "r0"])
    log.dropped(f"r{n}" for n in range(1, 12))
    log.report_dropped(13)
    log.report_dropped(13)
    (line,) = lines(caplog)
    assert (line["level"], line["total"], line["request_ids"]) == ("warning", 13, [f"r{n}" for n in range(2, 12)])
    log.report_dropped(14)
    assert lines(caplog)[0]["request_ids"] == []
