"""Query parameters: nothing is taken by mistake, and a refusal names the parameter."""

from __future__ import annotations

from typing import Any

import falcon
import pytest
from falcon.testing import create_environ
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from httpfront.api.subscriptions import read_cursor
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.params import (
    MICROSECOND,
    MILLISECOND,
    count,
    cursor,
    duration,
    flag,
    number,
    read_parameters,
    span,
)
from tests.support.table import table


def decimal(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("must be a whole number")
    return int(text)


KNOWN = {"wait": decimal, "strict": flag, "name": str}


def read(query: str, known: dict[str, Any] | None = None) -> dict[str, Any]:
    env = create_environ(path="/t/u")
    env["QUERY_STRING"] = query
    return read_parameters(falcon.Request(env), KNOWN if known is None else known)


def refusal(query: str, known: dict[str, Any] | None = None) -> tuple[str, str]:
    with pytest.raises(FanmailError) as caught:
        read(query, known)
    error = caught.value
    assert (error.code, error.spec.status) == ("bad-parameter", 400)
    parameter = error.fields["parameter"]
    assert isinstance(parameter, str)
    assert error.detail.startswith(f"parameter '{parameter}' ")
    assert error.detail.isascii()
    assert error.detail.isprintable()
    return parameter, error.detail.removeprefix(f"parameter '{parameter}' ")


def test_no_query_has_no_parameters() -> None:
    assert read("") == {}
    assert read("", {}) == {}


def test_known_parameters_are_parsed() -> None:
    assert read("wait=20&strict=1&name=a") == {"wait": 20, "strict": True, "name": "a"}
    assert read("strict=0") == {"strict": False}


def test_names_and_values_are_decoded_once() -> None:
    assert read("%77ait=2%30") == {"wait": 20}
    assert read("name=a%26b%3Dc+d%2Be%2526") == {"name": "a&b=c d+e%26"}
    assert read("name=%E2%98%83") == {"name": "\u2603"}
    assert read("name=a=b") == {"name": "a=b"}


@table("query", ["leese=30", "leese", "Wait=1", "wait%20=1", "=1", "&", "wait=1&", "&wait=1", "%=1"])
def test_an_unknown_parameter_is_refused_by_name(query: str) -> None:
    name, reason = refusal(query)
    assert reason == "is unknown here (known: name, strict, wait)"
    assert name in ("leese", "Wait", "wait ", "", "%")


def test_a_call_without_parameters_says_so() -> None:
    assert refusal("wait=1", {}) == ("wait", "is unknown here (known: none)")


@table("query", ["wait=1&wait=1", "wait=1&wait=2", "wait=1&strict=1&%77ait=1"])
def test_a_repeated_parameter_is_refused(query: str) -> None:
    assert refusal(query) == ("wait", "is given twice")


@table("query", ["wait=", "wait", "wait=x", "wait=1%00", "wait=-1", "wait=1.5", "wait=%zz"])
def test_a_malformed_parameter_is_refused_with_what_is_allowed(query: str) -> None:
    assert refusal(query) == ("wait", "must be a whole number")


@table("text", ["", "2", "true", "01", "on", " 1"])
def test_a_flag_is_0_or_1(text: str) -> None:
    assert refusal(f"strict={text.replace(' ', '%20')}") == ("strict", "must be 0 or 1")


@table("query", ["%FF=1", "w%C3=1", "\xff=1"])
def test_a_name_that_is_not_utf_8_is_refused(query: str) -> None:
    assert refusal(query)[1] == "is not valid UTF-8"


@table("query", ["wait=%FF", "name=%ED%A0%80", "name=\xe9"])
def test_a_value_that_is_not_utf_8_is_refused_by_the_name_of_its_parameter(query: str) -> None:
    assert refusal(query) == (query.partition("=")[0], "is not valid UTF-8")


def test_what_a_client_sent_is_shown_short_and_harmless() -> None:
    name, _ = refusal("x" * 1000 + "=1")
    assert name == "x" * 40
    name, _ = refusal("%0d%0aSet-Cookie:%20a%1b%5b31m%C2%9b%E2%80%AE=1")
    assert name == r"\r\nSet-Cookie: a\x1b[31m\x9b\u202e"


def test_the_first_of_several_errors_is_told() -> None:
    assert refusal("a=1&wait=x")[0] == "a"
    assert refusal("wait=x&a=1")[0] == "wait"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=60))
def test_any_query_is_read_or_refused(query: str) -> None:
    try:
        values = read(query)
    except FanmailError:
        refusal(query)
    else:
        assert values.keys() <= KNOWN.keys()


# --- seconds


@table(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("20", 20.0),
        ("0.5", 0.5),
        ("007", 7.0),
        ("0.000001", 0.000001),
        ("29.999999", 29.999999),
        ("30", 30.0),
        ("30.000001", 30.0),
        ("31", 30.0),
        ("999999999", 30.0),
        ("9999999999", 30.0),
        ("1" * 18, 30.0),
    ],
)
def test_seconds_are_read_and_cut_to_the_most(text: str, seconds: float) -> None:
    assert duration(30)(text) == seconds


NOT_NUMBERS = [
    *("", " ", "x", "1s", "-1", "-0", "+1", "1e3", "1E3", "0x10", "1_000", "1,5", "1.2.3", "nan", "NaN", "inf"),
    *("-inf", "Infinity", " 20", "20 ", "2 0", "20\n", "\u0662\u0660", "\uff12", "\xb2", "true", "None", "20;", '"20"'),
]


@table("text", [*NOT_NUMBERS, ".5", "5.", "0.1234567", "9" * 400])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a number of seconds, such as 20 or 0\.5$"):
        duration(30)(text)


def test_a_longest_wait_of_nothing_cuts_everything_to_nothing() -> None:
    assert duration(0)("20") == 0


@given(st.text(max_size=30))
def test_any_text_is_seconds_within_the_bounds_or_refused(text: str) -> None:
    try:
        seconds = duration(30)(text)
    except ValueError:
        return
    assert 0 <= seconds <= 30


@table(("text", "value"), [("1", 1), ("999", 999), ("1000", 1000), ("1001", 1000), ("9" * 18, 1000)])
def test_a_whole_number_is_cut_to_the_most(text: str, value: int) -> None:
    assert number(1000)(text) == value


@table("text", [*NOT_NUMBERS, "0", "01", "1.0"])
def test_what_is_no_whole_number_from_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a whole number from 1$"):
        number(1000)(text)


@table(("text", "value"), [("0", 0), ("1", 1), ("999", 999), ("1000", 1000)])
def test_a_count_begins_at_nothing(text: str, value: int) -> None:
    assert count(1000)(text) == value


@table("text", [*NOT_NUMBERS, "00", "01", "1.0", "1001", "9" * 18, "9" * 400])
def test_what_is_no_count_or_over_the_most_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a whole number from 0 to 1000$"):
        count(1000)(text)


# --- spans: nothing is cut


@table(
    ("text", "microseconds", "milliseconds"),
    [
        ("1", 1_000_000, 1000),
        ("1.000001", 1_000_001, 1001),
        ("1.1", 1_100_000, 1100),
        ("1.001", 1_001_000, 1001),
        ("2.999999", 2_999_999, 3000),
        ("007.50", 7_500_000, 7500),
        ("30.000000", 30_000_000, 30_000),
    ],
)
def test_a_span_is_exact_and_a_part_of_a_unit_counts_as_one(text: str, microseconds: int, milliseconds: int) -> None:
    assert span(1, 30, MICROSECOND)(text) == microseconds
    assert span(1, 30, MILLISECOND)(text) == milliseconds


@table(
    ("least", "zero", "allowed", "good", "bad"),
    [
        (1, False, "a number of seconds from 1 to 30", ["1", "30"], ["0", "0.999999", "30.000001", "31"]),
        (1, True, "0 or a number of seconds from 1 to 30", ["0", "0.0", "1", "30"], ["0.5", "30.000001"]),
        (0, False, "a number of seconds above 0 and at most 30", ["0.000001", "30"], ["0", "0.000000", "31"]),
        (0, True, "a number of seconds from 0 to 30", ["0", "0.000001", "30"], ["30.000001", "31"]),
    ],
)
def test_a_span_has_bounds_and_says_them(least: int, zero: bool, allowed: str, good: list[str], bad: list[str]) -> None:
    parse = span(least, 30, MILLISECOND, zero=zero)
    for text in good:
        assert (parse(text) == 0) == (not float(text)), "only nothing becomes nothing"
    for text in [*bad, *NOT_NUMBERS, ".5", "5.", "5.0000000", "9" * 18, "9" * 400]:
        with pytest.raises(ValueError) as caught:
            parse(text)
        assert str(caught.value) == f"must be {allowed}, such as 20 or 2.5"


@given(st.integers(0, 31 * 10**6))
def test_a_span_of_any_number_of_microseconds_is_exact(microseconds: int) -> None:
    text = f"{microseconds // 10**6}.{microseconds % 10**6:06}"
    if 10**6 <= microseconds <= 30 * 10**6:
        assert span(1, 30, MICROSECOND)(text) == microseconds
    else:
        with pytest.raises(ValueError):
            span(1, 30, MICROSECOND)(text)


# --- cursors


@table(
    ("text", "value"),
    [
        ("0", ("", 0)),
        ("0badcafe1-9", ("0badcafe1", 9)),
        ("0-1", ("0", 1)),
        ("0badcafe1-0", ("0badcafe1", 0)),
        ("f" * 64 + "-1", ("f" * 64, 1)),
        ("a-" + "9" * 18, ("a", 10**18 - 1)),
    ],
)
def test_a_cursor_is_nothing_yet_or_a_message_id(text: str, value: tuple[str, int]) -> None:
    assert cursor(text) == value


@table(
    "text",
    [
        *("", " ", "00", "1", "-1", "-", "a", "a-", "-5", "a-00", "a-05", "a-+5", "a--5", "a-5-", "a-5-6", "a-5.0"),
        *("a-1e3", "A-5", "g-5", " a-5", "a-5 ", "a -5", "a-5\n", "0 ", "a-\u0665", "\uff41-5", "a_5", "a-5.1", "*"),
        *("f" * 65 + "-1", "a-" + "9" * 19, "a-nan", '"a-5"', "W/a-5"),
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be 0 or a Msg-Id$"):
        cursor(text)


@given(st.text(max_size=40) | st.from_regex(r"\A[0-9a-f]{1,64}-[0-9]{1,20}\Z"))
def test_any_text_is_a_cursor_that_fits_the_wire_or_refused(text: str) -> None:
    try:
        epoch, seq = cursor(text)
    except ValueError:
        return
    assert 0 <= seq < 2**63
    assert text == (f"{epoch}-{seq}" if epoch else "0")


def request(**headers: str) -> falcon.Request:
    env = create_environ(path="/t/u")
    env.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
    return falcon.Request(env)


@table(
    ("query", "header", "value"),
    [
        (None, None, None),
        ("a-5", None, ("a", 5)),
        (None, "a-5", ("a", 5)),
        (None, "0", ("", 0)),
        ("a-5", "a-5", ("a", 5)),
        ("0", "0", ("", 0)),
    ],
)
def test_the_last_event_id_is_a_cursor_too(query: str | None, header: str | None, value: object) -> None:
    values = {} if query is None else {"after": cursor(query)}
    assert read_cursor(request() if header is None else request(last_event_id=header), values) == value


@table(("query", "header"), [("a-5", "a-6"), ("a-5", "b-5"), ("0", "a-5"), ("a-5", "0")])
def test_two_cursors_that_differ_are_refused(query: str, header: str) -> None:
    with pytest.raises(FanmailError, match="differ") as caught:
        read_cursor(request(last_event_id=header), {"after": cursor(query)})
    assert (caught.value.code, caught.value.spec.status) == ("bad-parameter", 400)


@table("header", ["", "x", "5", "a-5, a-5"])
def test_a_malformed_last_event_id_is_refused_by_its_name(header: str) -> None:
    for values in ({}, {"after": ("a", 5)}):
        with pytest.raises(FanmailError) as caught:
            read_cursor(request(last_event_id=header), values)
        assert (caught.value.code, caught.value.fields) == ("bad-parameter", {"parameter": "Last-Event-ID"})
        assert caught.value.detail == "header Last-Event-ID must be 0 or a Msg-Id"


# --- Prefer (RFC 7240): what is not understood is passed over


@table(
    ("prefer", "seconds"),
    [
        ("wait=20", 20),
        ("wait=0", 0),
        ("Wait=20", 20),
        ("WAIT = 20", 20),
        (" wait=20 ", 20),
        ('wait="20"', 20),
        ("wait=0.5", 0.5),
        ("wait=1000", 30),
        ("respond-async, wait=5", 5),
        ("wait=5, respond-async", 5),
        ("respond-async,wait=5,return=minimal", 5),
        ("return=minimal; x=1, wait=5; y=2", 5),
        ("wait=5;x", 5),
        ("wait=5, wait=7", 5),
        ("", None),
        ("respond-async", None),
        ("wait", None),
        ("wait=", None),
        ('wait=""', None),
        ("wait=x", None),
        ("wait=-1", None),
        ("wait=1e3", None),
        ("wait=nan", None),
        ("wait=inf", None),
        ("wait=x, wait=5", None),
        ("wait:20", None),
        ("await=20", None),
        ("x-wait=20", None),
        ("wait-for=20", None),
        ("return=minimal; wait=20", None),
        ("wait=2 0", None),
        ('note="a, wait=5"', None),
        ('note="a, wait=5", wait=7', 7),
        ("=,;,=", None),
    ],
)
def test_the_preferred_wait(prefer: str, seconds: float | None) -> None:
    assert LongPoll(None, 30, 1).preferred(request(prefer=prefer)) == seconds  # type: ignore[arg-type]


def test_without_a_preference_there_is_none() -> None:
    assert LongPoll(None, 30, 1).preferred(request()) is None  # type: ignore[arg-type]


@given(st.text(st.sampled_from('wait=20 ,;"x-.'), max_size=60))
def test_any_preference_is_seconds_or_nothing(prefer: str) -> None:
    seconds = LongPoll(None, 30, 1).preferred(request(prefer=prefer))  # type: ignore[arg-type]
    assert seconds is None or 0 <= seconds <= 30
