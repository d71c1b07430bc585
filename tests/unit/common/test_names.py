"""Legal names: a segment is decoded once, checked, and never folded, cut or replaced."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.errors import FanmailError
from common.names import MAX_NAME, parse_name
from tests.support.table import table


def refusal(segment: str, limit: int = 255) -> str:
    with pytest.raises(FanmailError) as caught:
        parse_name(segment, "topic", limit)
    assert caught.value.code == "bad-name"
    assert caught.value.spec.status == 400
    assert caught.value.detail.startswith("the topic name ")
    assert caught.value.detail.isprintable()
    return caught.value.detail.removeprefix("the topic name ")


@table(
    ("segment", "name"),
    [
        ("news", b"news"),
        ("News", b"News"),
        ("-", b"-"),
        ("metrics", b"metrics"),
        ("~user!$&'()*,;=:@_", b"~user!$&'()*,;=:@_"),
        ("a+b", b"a+b"),
        ("+", b"+"),
        ("a%2Bb", b"a+b"),
        ("a%20b", b"a b"),
        ("%20", b" "),
        ("a%2Fb", b"a/b"),
        ("%2f", b"/"),
        ("%2F%2F", b"//"),
        ("%252F", b"%2F"),
        ("%25", b"%"),
        ("100%25", b"100%"),
        ("%3F%23", b"?#"),
        ("...", b"..."),
        (".a", b".a"),
        ("..a", b"..a"),
        ("a.", b"a."),
        ("a..b", b"a..b"),
        ("%2e%2e%2e", b"..."),
        ("caf%C3%A9", "caf\u00e9".encode()),
        ("cafe%CC%81", "cafe\u0301".encode()),
        ("caf\u00c3\u00a9", "caf\u00e9".encode()),
        ("%C2%A0", "\u00a0".encode()),
        ("%E2%80%AE", "\u202e".encode()),
        ("%EF%BB%BFa", b"\xef\xbb\xbfa"),
        ("%EF%BF%BD", "\ufffd".encode()),
        ("%F0%9F%98%80", "\U0001f600".encode()),
        ("%F4%8F%BF%BF", "\U0010ffff".encode()),
        ('|<>"\\^`{}[]', b'|<>"\\^`{}[]'),
    ],
)
def test_a_legal_segment_spells_these_bytes(segment: str, name: bytes) -> None:
    assert parse_name(segment, "topic", 255) == name


@table("segment", [".", "..", "%2e", "%2E", "%2e%2E", ".%2e", "%2E."])
def test_dots_that_a_client_or_proxy_would_resolve_are_refused(segment: str) -> None:
    assert refusal(segment) in ("is '.'", "is '..'")


def test_an_empty_segment_is_refused() -> None:
    assert refusal("") == "is empty"


@table("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_control_characters_are_refused(code: int) -> None:
    for text in (chr(code), f"a{chr(code)}", f"{chr(code)}b"):
        assert refusal(quote(text, safe="")) == f"has the control character U+{code:04X}"


@table("segment", ["\x00", "a\x1fb", "\x7f", "\r\n", "\t"])
def test_raw_control_characters_are_refused_too(segment: str) -> None:
    assert refusal(segment).startswith("has the control character U+00")


@table(
    ("segment", "at"),
    [
        ("%FF", 0),
        ("a%FE", 1),
        ("%80", 0),
        ("%C3", 0),
        ("ab%C3%28", 2),
        ("%C0%AF", 0),
        ("%E0%80%AF", 0),
        ("%C1%81", 0),
        ("%ED%A0%80", 0),
        ("%ED%A0%BD%ED%B8%80", 0),
        ("%F4%90%80%80", 0),
        ("%F8%88%80%80%80", 0),
        ("caf\u00e9", 3),
        ("\u00ff", 0),
        ("%C2\u0041", 0),
    ],
)
def test_what_is_not_utf_8_is_refused_and_says_where(segment: str, at: int) -> None:
    """Cut off, overlong, surrogates, beyond Unicode, latin-1."""
    assert refusal(segment) == f"is not valid UTF-8 at byte {at}"


@table("segment", ["%", "a%", "%4", "%zz", "%4g", "a%%41", "%u0041", "% 41", "%+1", "%-1", "%0x"])
def test_a_broken_escape_is_refused(segment: str) -> None:
    assert refusal(segment) == "has a '%' without two hexadecimal digits"


def test_the_limit_counts_bytes_after_decoding() -> None:
    for segment in ("a" * 255, "%41" * 255, "%C3%A9" * 127 + "a"):
        assert len(parse_name(segment, "topic", 255)) == 255
    for segment in ("a" * 256, "%41" * 256, "%C3%A9" * 128):
        assert refusal(segment) == "has 256 bytes, at most 255 are allowed"
    assert len(parse_name("a" * MAX_NAME, "topic", MAX_NAME)) == 1024
    assert refusal("a" * 1025, MAX_NAME) == "has 1025 bytes, at most 1024 are allowed"
    assert refusal("ab", 1) == "has 2 bytes, at most 1 are allowed"


def test_the_refusal_names_what_was_refused() -> None:
    with pytest.raises(FanmailError, match="the user name is empty"):
        parse_name("", "user", 255)


def test_names_are_not_normalised_or_folded() -> None:
    spellings = ["%C3%A9", "e%CC%81", "E%CC%81", "%C3%89", "%EF%BD%85%CC%81"]
    assert len({parse_name(each, "topic", 255) for each in spellings}) == len(spellings)


def legal(text: str) -> bool:
    return (
        text not in ("", ".", "..")
        and not any(unicodedata.category(each) in ("Cc", "Cs") for each in text)
        and len(text.encode()) <= 255
    )


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=80).filter(legal)


@given(NAMES, st.sampled_from(["", "/", "/?#[]@!$&'()*+,;=:%"]))
def test_every_legal_name_can_be_spelled_and_comes_back(text: str, safe: str) -> None:
    name = text.encode()
    assert parse_name(quote(name, safe=safe.replace("%", "")), "topic", 255) == name
    assert parse_name("".join(f"%{byte:02x}" for byte in name), "topic", 255) == name
    if "%" not in text:
        assert parse_name(name.decode("latin-1"), "topic", 255) == name


@given(NAMES, NAMES)
def test_two_different_names_stay_different(one: str, other: str) -> None:
    assume(one != other)
    assert parse_name(quote(one, safe=""), "topic", 255) != parse_name(quote(other, safe=""), "topic", 255)


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_taken_whole_or_refused(raw: bytes) -> None:
    segment = quote(raw, safe="")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        assert "UTF-8" in refusal(segment)
        return
    if legal(text):
        assert parse_name(segment, "topic", 255) == raw
    else:
        refusal(segment)


@given(st.text(st.characters(max_codepoint=0xFF), max_size=40))
def test_any_raw_segment_is_a_name_or_refused(segment: str) -> None:
    try:
        name = parse_name(segment, "topic", 255)
    except FanmailError:
        refusal(segment)
    else:
        assert legal(name.decode())
