"""The access log: one line a request, rendered and written by a thread of its own, many at once.

The loop only appends a tuple: rendering and a write for every request would block it. A process that is killed
loses the lines of the last quarter second.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

import msgspec

from common.log import timestamp
from httpfront.answered import Answered

FLUSH_EVERY = 0.25
"""Seconds."""
MAX_WAITING = 100_000
"""Lines; more are dropped and their number is logged."""


class AccessLog:
    """`record` may be called by any thread and never waits."""

    def __init__(self, process: str, text: bool, stream: TextIO | None = None) -> None:
        self._process = process
        self._render = self._text if text else self._json
        self._stream = stream or sys.stderr
        self._waiting: list[tuple[float, Answered]] = []
        """With the time, seconds since 1970."""
        self._dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def record(self, answered: Answered) -> None:
        """The hook of `FrontServer`."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append((time.time(), answered))

    def close(self) -> None:
        """Writes what is waiting."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append((time.time(), Answered("", f"{dropped} lines dropped", 0, 0.0, "", 0)))
        if lines:
            try:
                self._stream.write("".join(self._render(*line) for line in lines))
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a closed pipe: the next ones may get through
                self._dropped += len(lines)

    def _json(self, at: float, answered: Answered) -> str:
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

    def _text(self, at: float, answered: Answered) -> str:
        clock = timestamp(at)[11:23]
        took = f"{answered.duration * 1e3:.1f}ms"
        extras = f" key={answered.key}" if answered.key else ""
        extras += f" trace_id={answered.trace_id}" if answered.trace_id else ""
        what = f"{answered.method} {answered.route} {answered.status} {took} {answered.request_id}"
        return f"{clock} info    {self._process} {what}{extras}\n"
