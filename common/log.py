"""Logs: one JSON object a line, or text for a person at a terminal. Nothing of bodies; names only at debug."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup_logging(log_format: str, level: str, process: str) -> None:
    """Sends everything to standard error. `log_format` is auto, json or text; `process` names who speaks."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(process) if text else JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "process", "event", ...}`; `extra=` fields stand beside. Escapes control characters."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
            **_extras(record),
        }
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """`12:00:00.000 info b0 event key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {key}={_shown(value)}" for key, value in _extras(record).items())
        clock = timestamp(record.created)[11:23]
        return f"{clock} {record.levelname.lower():7} {self._process} {_escaped(record.getMessage())}{extras}"


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, from seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    extras = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[0]:
        extras["exception"] = logging.Formatter().formatException(record.exc_info)
    return extras


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _shown(value: object) -> str:
    if isinstance(value, str) and "\n" in value:  # a traceback, for the person at the terminal
        return "\n" + value
    return _escaped(str(value))
