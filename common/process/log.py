"""Logs: one JSON object per line, or text on a terminal. No bodies, and no names of topics or users."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup_logging(log_format: str, level: str, process: str) -> None:
    """Log to standard error. `log_format` is auto, json or text; `process` is the name of this process in the log."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(process) if text else JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "process", "event", ...}` with the `extra=` fields. Escapes control characters."""

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
        return json_line(line)


class TextFormatter(logging.Formatter):
    """`12:00:00.000 info b0 event key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = _extras(record)
        trace = fields.pop("exception", "")
        extras = "".join(f" {key}={_escaped(str(value))}" for key, value in fields.items())
        if trace:  # on a terminal; each line is escaped on its own
            extras += " exception=\n" + "\n".join(map(_escaped, trace.splitlines()))
        clock = timestamp(record.created)[11:23]
        return f"{clock} {record.levelname.lower():7} {self._process} {_escaped(record.getMessage())}{extras}"


def json_line(fields: dict[str, Any]) -> str:
    """Return a JSON object without a line end.

    Every control character is escaped, U+007F to U+009F included, and so are surrogates of undecodable file names.
    """
    try:
        text = msgspec.json.encode(fields, enc_hook=str).decode()
    except UnicodeEncodeError:
        text = msgspec.json.encode({key: _clean(value) for key, value in fields.items()}, enc_hook=str).decode()
    return text if text.isprintable() else _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _clean(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 in RFC 3339, in UTC with milliseconds."""
    milliseconds = int(seconds * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    extras = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[0]:
        extras["exception"] = logging.Formatter().formatException(record.exc_info)
    return extras


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()
