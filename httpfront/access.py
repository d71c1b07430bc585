"""The access log: one line a request, rendered and written by a thread of its own, many at once.

The loop only appends a tuple: rendering and a write for every request would block it. A process that is killed
loses the lines of the last quarter second.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import NamedTuple, TextIO

import msgspec

from common.log import timestamp

FLUSH_EVERY = 0.25
"""Seconds."""
MAX_WAITING = 100_000
"""Lines; more are dropped and their number is logged."""


class Access(NamedTuple):
    """One answered request."""

    at: float
    """Seconds since 1970."""
    method: str
    route: str
    """The template, never a name."""
    status: int
    duration: float
    """Seconds from the whole request's arrival to the answer's handing over."""
    request_id: str
    sent: int
    """Bytes."""
    key: str
    """The id of the key with which it was made, "" for none."""


class AccessLog:
    """`record` may be called by any thread and never waits."""

    def __init__(self, process: str, text: bool, stream: TextIO | None = None) -> None:
        self._process = process
        self._render = self._text if text else self._json
        self._stream = stream or sys.stderr
        self._waiting: list[Access] = []
        self._dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def record(
        self, method: str, route: str, status: int, duration: float, request_id: str, sent: int, key: str = ""
    ) -> None:
        """The hook of `FrontServer`."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append(Access(time.time(), method, route, status, duration, request_id, sent, key))

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
            lines.append(Access(time.time(), "", f"{dropped} lines dropped", 0, 0.0, "", 0, ""))
        if lines:
            try:
                self._stream.write("".join(map(self._render, lines)))
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a closed pipe: the next ones may get through
                self._dropped += len(lines)

    def _json(self, access: Access) -> str:
        line = {
            "time": timestamp(access.at),
            "level": "info",
            "process": self._process,
            "event": "request",
            "request_id": access.request_id,
            "method": access.method,
            "route": access.route,
            "status": access.status,
            "duration_ms": round(access.duration * 1e3, 3),
            "bytes": access.sent,
        }
        if access.key:
            line["key"] = access.key
        return msgspec.json.encode(line).decode() + "\n"

    def _text(self, access: Access) -> str:
        at = timestamp(access.at)[11:23]
        took = f"{access.duration * 1e3:.1f}ms"
        key = f" key={access.key}" if access.key else ""
        about = f"{access.method} {access.route} {access.status} {took} {access.request_id}{key}"
        return f"{at} info    {self._process} {about}\n"
