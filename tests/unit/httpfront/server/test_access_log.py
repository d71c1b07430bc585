"""The access log, and the trace that a request names in it."""

from __future__ import annotations

import json
import os

from common.process.log_queue import LogQueue
from httpfront.middleware.request_id import trace_id
from httpfront.server.access_log import AccessLog
from httpfront.server.request_summary import RequestSummary
from tests.support.table import table

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@table("text", [True, False])
def test_a_line_says_what_was_answered_and_its_trace_where_there_is_one(text: bool) -> None:
    read_end, write_end = os.pipe()
    queue = LogQueue(write_end)
    log = AccessLog("front", text, queue)
    log.record(RequestSummary("GET", "/{topic}/{user}", 204, 0.0015, "r1", 20))
    log.record(RequestSummary("GET", "/{topic}/{user}", 200, 0.001, "r2", 10, trace_id=TRACE))
    queue.close_within()
    first, second = os.read(read_end, 65536).decode().splitlines()
    os.close(read_end)
    os.close(write_end)
    if text:
        assert first.endswith(" front GET /{topic}/{user} 204 1.5ms r1")
        assert second.endswith(f" r2 trace_id={TRACE}")
    else:
        seen = json.loads(first)
        assert {"request_id": "r1", "status": 204, "duration_ms": 1.5, "bytes": 20}.items() <= seen.items()
        assert "trace_id" not in seen, "only where there is a trace"
        assert json.loads(second)["trace_id"] == TRACE


def test_a_well_formed_traceparent_names_its_trace() -> None:
    assert trace_id(f"00-{TRACE}-{PARENT}-01") == TRACE
    assert trace_id(f"cc-{TRACE}-{PARENT}-00-what the future brings") == TRACE, "of a later version"


@table(
    "header",
    [
        "",
        TRACE,
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01 ",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-0g",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
    ],
)
def test_any_other_traceparent_names_none(header: str) -> None:
    assert trace_id(header) == ""
