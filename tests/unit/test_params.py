"""Query parameters: nothing is taken by mistake, and a refusal names the parameter."""

from __future__ import annotations

from typing import Any

import falcon
import pytest
from falcon.testing import create_environ
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from httpfront.params import flag, read_parameters


def number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("must be a whole number")
    return int(text)


KNOWN = {"wait": number, "strict": flag, "name": str}


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


@pytest.mark.parametrize("query", ["leese=30", "leese", "Wait=1", "wait%20=1", "=1", "&", "wait=1&", "&wait=1", "%=1"])
def test_an_unknown_parameter_is_refused_by_name(query: str) -> None:
    name, reason = refusal(query)
    assert reason == "is not known here (known: name, strict, wait)"
    assert name in ("leese", "Wait", "wait ", "", "%")


def test_a_call_without_parameters_says_so() -> None:
    assert refusal("wait=1", {}) == ("wait", "is not known here (known: none)")


@pytest.mark.parametrize("query", ["wait=1&wait=1", "wait=1&wait=2", "wait=1&strict=1&%77ait=1"])
def test_a_repeated_parameter_is_refused(query: str) -> None:
    assert refusal(query) == ("wait", "is given twice")


@pytest.mark.parametrize("query", ["wait=", "wait", "wait=x", "wait=1%00", "wait=-1", "wait=1.5", "wait=%zz"])
def test_a_malformed_parameter_is_refused_with_what_is_allowed(query: str) -> None:
    assert refusal(query) == ("wait", "must be a whole number")


@pytest.mark.parametrize("text", ["", "2", "true", "01", "on", " 1"])
def test_a_flag_is_0_or_1(text: str) -> None:
    assert refusal(f"strict={text.replace(' ', '%20')}") == ("strict", "must be 0 or 1")


@pytest.mark.parametrize("query", ["%FF=1", "w%C3=1", "\xff=1"])
def test_a_name_that_is_not_utf_8_is_refused(query: str) -> None:
    assert refusal(query)[1] == "is not valid UTF-8"


@pytest.mark.parametrize("query", ["wait=%FF", "name=%ED%A0%80", "name=\xe9"])
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
