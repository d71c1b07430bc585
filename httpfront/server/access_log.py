"""The access log: one line a request, rendered and written by the thread of the log's queue, many at once.

The loop only appends a tuple: rendering and a write for every request would block it. A process that is killed
loses the lines of the last quarter second.
"""

from __future__ import annotations

import time

import msgspec

from common.process.log import timestamp
from common.process.log_queue import LogQueue
from httpfront.server.answered import Answered


class AccessLog:
    """`record` never waits."""

    def __init__(self, process: str, text: bool, queue: LogQueue) -> None:
        self._process = process
        self._render = self._text if text else self._json
        self._queue = queue

    def record(self, answered: Answered) -> None:
        """The hook of `FrontServer`."""
        self._queue.write_later(self._render, (time.time(), answered))

    def _json(self, request: tuple[float, Answered]) -> str:
        at, answered = request
        line = {
            "time": timestamp(at),
            "level": "info",
            "process": self._process,
            "event": "request",
            "request_id": answered.request_id,
            "method": answered.method,
            "route": answered.route,
            "status": answered.status,
            "duration_ms": round(answered.duration * 1e3, 3),
            "bytes": answered.sent,
        }
        if answered.key:
            line["key"] = answered.key
        if answered.trace_id:
            line["trace_id"] = answered.trace_id
        return msgspec.json.encode(line).decode() + "\n"

    def _text(self, request: tuple[float, Answered]) -> str:
        at, answered = request
        clock = timestamp(at)[11:23]
        took = f"{answered.duration * 1e3:.1f}ms"
        extras = f" key={answered.key}" if answered.key else ""
        extras += f" trace_id={answered.trace_id}" if answered.trace_id else ""
        what = f"{answered.method} {answered.route} {answered.status} {took} {answered.request_id}"
        return f"{clock} info    {self._process} {what}{extras}\n"
