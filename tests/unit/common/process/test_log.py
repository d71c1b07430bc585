"""Log lines: one object or one line an event, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.process.log import JsonFormatter, TextFormatter, setup_logging, timestamp
from tests.support.table import table

AT = 1_700_000_000.123
NASTY = 'a\r\nb\x00\x1b[31m"\\\t\x08'


def record(event: str = "event", level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("fanmail.test", level, __file__, 1, event, (), None)
    made.created = AT
    vars(made).update(extra)
    return made


def as_json(event: str = "event", level: int = logging.INFO, **extra: Any) -> dict[str, Any]:
    line = JsonFormatter("b0").format(record(event, level, **extra))
    assert "\n" not in line
    assert "\r" not in line
    seen = json.loads(line)
    assert isinstance(seen, dict)
    return seen


def as_text(event: str = "event", level: int = logging.INFO, **extra: Any) -> str:
    return TextFormatter("b0").format(record(event, level, **extra))


def with_exception(message: str) -> logging.LogRecord:
    made = record("it broke", logging.ERROR)
    try:
        raise ValueError(message)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


# --- json


def test_a_line_has_time_level_process_event_and_the_fields() -> None:
    line = JsonFormatter("b0").format(record("serving", endpoint="ipc:///x", map_epoch=3, ratio=0.5, up=True))
    assert line == (
        '{"time":"2023-11-14T22:13:20.123Z","level":"info","process":"b0","event":"serving",'
        '"endpoint":"ipc:///x","map_epoch":3,"ratio":0.5,"up":true}'
    )


@table(
    ("level", "word"),
    [
        (logging.DEBUG, "debug"),
        (logging.WARNING, "warning"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "critical"),
    ],
)
def test_levels_are_words(level: int, word: str) -> None:
    assert as_json(level=level)["level"] == word
    assert f" {word} " in as_text(level=level)


def test_control_characters_come_out_escaped_and_come_back_whole() -> None:
    line = JsonFormatter("b0").format(record(NASTY, reason=NASTY))
    assert not any(ord(each) < 0x20 for each in line)
    seen = json.loads(line)
    assert (seen["event"], seen["reason"]) == (NASTY, NASTY)


def test_every_control_character_is_escaped() -> None:
    line = JsonFormatter("b0").format(record("a\x7f\x9b31m", reason="\x85"))
    assert not any(0x7F <= ord(each) <= 0x9F for each in line)


def test_a_file_name_that_is_not_utf_8_is_no_reason_to_lose_the_line() -> None:
    assert as_json(path=b"/run/\xff".decode("utf-8", "surrogateescape"))["event"] == "event"


def test_anything_can_be_a_field() -> None:
    seen = as_json(path=pytest, error=ValueError("why"), number=2**70, nothing=None, words=["a", {"b": 1}])
    assert seen["error"] == "why"
    assert seen["number"] == 2**70
    assert seen["words"] == ["a", {"b": 1}]
    assert isinstance(seen["path"], str)


def test_arguments_are_filled_in() -> None:
    made = record("%d of %s")
    made.args = (3, "four\n")
    assert json.loads(JsonFormatter("b0").format(made))["event"] == "3 of four\n"


def test_an_exception_is_a_field_of_the_one_line() -> None:
    line = JsonFormatter("b0").format(with_exception("first\nsecond"))
    assert "\n" not in line
    seen = json.loads(line)
    assert seen["event"] == "it broke"
    assert seen["exception"].startswith("Traceback (most recent call last):\n")
    assert seen["exception"].endswith("ValueError: first\nsecond")


def test_no_exception_no_field() -> None:
    made = record()
    made.exc_info = (None, None, None)
    assert "exception" not in json.loads(JsonFormatter("b0").format(made))
    assert not set(as_json()) - {"time", "level", "process", "event"}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_one_object_on_one_line(event: str, value: str) -> None:
    seen = as_json(event.replace("%", "%%"), field=value)
    assert seen["field"] == value


# --- text


def test_a_text_line_is_for_a_person() -> None:
    assert (
        as_text("serving", endpoint="ipc:///x", epoch=3) == "22:13:20.123 info    b0 serving endpoint=ipc:///x epoch=3"
    )


def test_a_text_line_stays_one_line_without_control_characters() -> None:
    line = as_text(NASTY)
    assert line.isprintable()
    assert r"a\r\nb\x00\x1b[31m" in line
    assert as_text(field="a\rb\x1b\x9b\u202e").isprintable()


def test_text_shows_an_exception_below_the_line() -> None:
    lines = TextFormatter("b0").format(with_exception("why")).splitlines()
    assert lines[0] == "22:13:20.123 error   b0 it broke exception="
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: why"


def test_a_field_with_a_line_break_is_escaped_in_text() -> None:
    assert as_text(found="x\n12:00:00.000 info    b0 forged\x1b[2J").isprintable()


# --- where it goes


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level
    root.setLevel(level)


@pytest.mark.parametrize(
    ("log_format", "terminal", "text"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("json", True, False),
        ("json", False, False),
        ("text", True, True),
        ("text", False, True),
    ],
)
def test_auto_is_text_at_a_terminal_and_json_elsewhere(
    log_format: str, terminal: bool, text: bool, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    setup_logging(log_format, "info", "front")
    logging.getLogger("fanmail.x").info("hello", extra={"a": 1})
    logging.getLogger("fanmail.x").debug("not shown")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("front hello a=1") if text else json.loads(line)["a"] == 1


def test_setting_up_twice_does_not_log_twice(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    setup_logging("json", "error", "b0")
    setup_logging("json", "error", "b0")
    logging.getLogger("fanmail.x").error("once")
    logging.getLogger("fanmail.x").warning("below the level")
    assert len(stream.getvalue().splitlines()) == 1


def test_times_are_rfc_3339_with_milliseconds() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(AT) == "2023-11-14T22:13:20.123Z"
