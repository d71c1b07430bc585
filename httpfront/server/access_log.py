"""The access log: one line per request, rendered and written in batches by the thread of the log's queue.

The loop only appends a tuple: rendering and writing every request would block it. A process that is killed loses the
lines of the last quarter second.
"""

from __future__ import annotations

import time

import msgspec

from common.process.log import timestamp
from common.process.log_queue import LogQueue
from httpfront.server.request_summary import RequestSummary


class AccessLog:
    """Writes lines in JSON or as text. `record` never waits."""

    def __init__(self, process: str, text: bool, queue: LogQueue) -> None:
        self._process = process
        self._render = self._text if text else self._json
        self._queue = queue

    def record(self, summary: RequestSummary) -> None:
        """Queue one request; the hook of `FrontServer`."""
        self._queue.write_later(self._render, (time.time(), summary))

    def _json(self, request: tuple[float, RequestSummary]) -> str:
        at, summary = request
        line = {
            "time": timestamp(at),
            "level": "info",
            "process": self._process,
            "event": "request",
            "request_id": summary.request_id,
            "method": summary.method,
            "route": summary.route,
            "status": summary.status,
            "duration_ms": round(summary.duration * 1e3, 3),
            "bytes": summary.sent,
        }
        if summary.ended:
            line["stream_ended"] = summary.ended
        if summary.key:
            line["key"] = summary.key
        if summary.trace_id:
            line["trace_id"] = summary.trace_id
        return msgspec.json.encode(line).decode() + "\n"

    def _text(self, request: tuple[float, RequestSummary]) -> str:
        at, summary = request
        clock = timestamp(at)[11:23]
        took = f"{summary.duration * 1e3:.1f}ms"
        extras = f" stream_ended={summary.ended}" if summary.ended else ""
        extras += f" key={summary.key}" if summary.key else ""
        extras += f" trace_id={summary.trace_id}" if summary.trace_id else ""
        what = f"{summary.method} {summary.route} {summary.status} {took} {summary.request_id}"
        return f"{clock} info    {self._process} {what}{extras}\n"
