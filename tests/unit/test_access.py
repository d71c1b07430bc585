"""The access log: nothing stops it, and it never waits; and the trace that a request names in it."""

from __future__ import annotations

import io
import json

import pytest

from httpfront.access import AccessLog
from httpfront.answered import Answered
from httpfront.request_id import trace_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class FullDisk(io.StringIO):
    """Fails as often as it is told to."""

    failures = 1

    def write(self, text: str) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_write_that_fails_does_not_end_the_log() -> None:
    stream = FullDisk()
    log = AccessLog("front", text=False, stream=stream)
    log.record(Answered("GET", "/{topic}/{user}", 200, 0.001, "r1", 10))
    log._flush()
    log.record(Answered("GET", "/{topic}/{user}", 204, 0.0015, "r2", 20))
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"request_id": "r2", "status": 204, "duration_ms": 1.5, "bytes": 20}.items() <= lines[0].items()
    assert lines[1]["route"] == "1 lines dropped"
    assert "trace_id" not in lines[0], "only where there is a trace"


@pytest.mark.parametrize("text", [True, False])
def test_the_trace_stands_beside_the_request_id(text: bool) -> None:
    stream = io.StringIO()
    log = AccessLog("front", text=text, stream=stream)
    log.record(Answered("GET", "/{topic}/{user}", 200, 0.001, "r1", 10, trace_id=TRACE))
    log.close()
    line = stream.getvalue()
    assert line.endswith(f" r1 trace_id={TRACE}\n") if text else json.loads(line)["trace_id"] == TRACE


def test_a_well_formed_traceparent_names_its_trace() -> None:
    assert trace_id(f"00-{TRACE}-{PARENT}-01") == TRACE
    assert trace_id(f"cc-{TRACE}-{PARENT}-00-what the future brings") == TRACE, "of a later version"


@pytest.mark.parametrize(
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
