"""Logs of a process that runs for long: JSON lines, or text on a terminal, on standard error."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

MAX_LINES = 10_000
"""Lines that wait for a reader of standard error that has stopped; more are dropped and counted."""
CLOSE_S = 1.0
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineWriter(logging.Handler):
    """Writes lines in a thread of its own, so that a reader that stalls does not stop the process."""

    def __init__(self, stream: TextIO, line: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._stream = stream
        self._line = line
        self._waiting: queue.Queue[str | None] = queue.Queue(MAX_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue."""
        if self._dropped:
            record.lines_dropped = self._dropped
        try:
            self._waiting.put_nowait(self._line(record))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, as far as that is possible soon."""
        try:
            self._waiting.put(None, timeout=CLOSE_S)
        except queue.Full:
            pass
        else:
            self._thread.join(CLOSE_S)
        super().close()

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more
                continue


@contextmanager
def logging_lines(logger: logging.Logger, log_format: str, level: str) -> Iterator[None]:
    """Log to standard error within the context. `log_format` is auto, json or text."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = LineWriter(sys.stderr, text_line if is_text else json_line)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()


def json_line(record: logging.LogRecord) -> str:
    """Return `{"time", "level", "process", "event", ...}` with the `extra=` fields, in ASCII."""
    line = {"time": _time(record), "level": record.levelname.lower(), "process": "forward"}
    return json.dumps(line | {"event": record.getMessage()} | _extras(record), default=str)


def text_line(record: logging.LogRecord) -> str:
    """Return a line for people."""
    extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
    text = f"{_time(record)[11:23]} {record.levelname.lower():7} {record.getMessage()}{extras}"
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a record that are not empty."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value not in ("", None)}
