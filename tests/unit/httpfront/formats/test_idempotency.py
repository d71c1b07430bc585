"""Idempotency keys and digests: any text is a key or refused, and only the same request has the same digest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from httpfront.formats.idempotency import DIGEST_SIZE, digest, read_key
from tests.support.table import table

REQUESTS = st.tuples(
    st.binary(max_size=12),
    st.binary(max_size=12),
    st.sampled_from(["", "lines", "frames"]),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)


def refusal(text: str) -> tuple[str, object]:
    with pytest.raises(FanmailError, match="1 to 255 visible ASCII") as caught:
        read_key(text)
    return caught.value.code, caught.value.fields


def test_the_digest_stays_as_it_is() -> None:
    """Keys outlive the front that took them, and fronts of two versions take turns."""
    assert digest(b"body", b"headers", "lines", 60_000, 5).hex() == "e7968fbfaeac5150784bdf3901073204"
    assert digest(b"", b"", "", 0, 0).hex() == "7b65fb5c9c66f793ce1cc3bb889db049"


def test_no_part_ends_where_another_begins() -> None:
    same_joined = [(b"ab", b"c"), (b"b", b"ca"), (b"cab", b""), (b"", b"cab")]
    assert len({digest(body, headers, "", 0, 0) for body, headers in same_joined}) == len(same_joined)
    assert digest(b"", b"", "", 1, 11) != digest(b"", b"", "", 11, 1) != digest(b"", b"", "", 111, 0)


@given(REQUESTS, REQUESTS)
def test_digests_are_the_same_for_the_same_only(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    first, second = digest(*one), digest(*other)  # type: ignore[arg-type]
    assert len(first) == DIGEST_SIZE == 16
    assert (first == second) == (one == other)


@given(st.text(st.characters(max_codepoint=0xFF), max_size=300))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        key = read_key(text)
    except FanmailError:
        assert refusal(text) == ("bad-parameter", {"parameter": "Idempotency-Key"})
        return
    assert 1 <= len(key) <= 255
    assert all(0x21 <= byte <= 0x7E for byte in key)
    assert text in (key.decode(), f'"{key.decode()}"')


@table(("text", "key"), [('"k"', b"k"), ("k", b"k"), ('"', b'"'), ('"""', b'"'), ('"k', b'"k')])
def test_only_a_pair_of_quotes_is_taken_off(text: str, key: bytes) -> None:
    assert read_key(text) == key


@table("text", ["k\n", '"k"\n', "\u0661", "\u2603", "", '""'])
def test_what_is_no_key_is_refused(text: str) -> None:
    assert refusal(text)[0] == "bad-parameter"
