"""Receipts as text: what is one is read back as it was written, anything else is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from common.protocol.ops import Receipt
from httpfront.formats.paths import path_to
from httpfront.formats.receipts import (
    are_receipts,
    is_receipt,
    named_receipt,
    parse_receipt,
    read_receipts,
    receipt_text,
    split_receipts,
)

OTHER_TEXTS = st.text(max_size=40) | st.from_regex(r"\A[0-9a-f]{1,64}-[0-9]{1,20}\.[0-9]{1,20}\Z")
NUMBERS = st.integers(1, 10**18 - 1)
RECEIPTS = st.builds(Receipt, st.from_regex(r"[0-9a-f]{1,64}", fullmatch=True), NUMBERS, NUMBERS)


def text_of(receipt: Receipt) -> str:
    return receipt_text(receipt.epoch, receipt.seq, receipt.attempt)


@given(RECEIPTS)
def test_a_receipt_comes_back(receipt: Receipt) -> None:
    assert parse_receipt(text_of(receipt)) == receipt


@given(st.lists(RECEIPTS, min_size=1, max_size=4), st.lists(OTHER_TEXTS, max_size=1), st.booleans())
def test_many_receipts_are_read_as_one_by_one(receipts: list[Receipt], others: list[str], joined: bool) -> None:
    texts = [*map(text_of, receipts), *others]
    if joined:
        texts = ["\n".join(texts)]
    one_by_one = [parse_receipt(each) for each in texts]
    assert [is_receipt(each) for each in texts] == [each is not None for each in one_by_one]
    assert are_receipts(texts) == (None not in one_by_one)
    assert None in one_by_one or split_receipts(texts) == one_by_one


@given(OTHER_TEXTS)
def test_any_text_is_a_receipt_that_fits_the_wire_or_refused(text: str) -> None:
    receipt = parse_receipt(text)
    if receipt is None:
        with pytest.raises(FanmailError, match="must be a Msg-Receipt") as caught:
            named_receipt(text)
        assert (caught.value.code, caught.value.fields) == ("bad-parameter", {"parameter": "receipt"})
    else:
        assert text_of(receipt) == text
        assert 0 < receipt.seq < 2**63
        assert 0 < receipt.attempt < 2**63


@given(st.lists(RECEIPTS, min_size=1, max_size=10), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_of_receipts_come_back_in_order(receipts: list[Receipt], end: str, ended: bool) -> None:
    body = end.join(map(text_of, receipts)) + (end if ended else "")
    assert read_receipts(body.encode(), 10) == receipts


@given(st.binary(max_size=60) | st.text(st.sampled_from("a1-.\r\n"), max_size=30).map(str.encode))
def test_any_bytes_are_receipts_or_refused(body: bytes) -> None:
    with suppress(FanmailError):
        receipts = read_receipts(body, 10)
        assert "\n".join(map(text_of, receipts)).encode() == body.replace(b"\r", b"").removesuffix(b"\n")


def test_too_many_lines_are_refused_before_they_are_read() -> None:
    with pytest.raises(FanmailError, match="over 3 receipts"):
        read_receipts(b"x\n" * 4, 3)
    with pytest.raises(FanmailError, match="line 1 "):
        read_receipts(b"x\n" * 3, 3)


@given(st.binary(min_size=1, max_size=30), st.binary(min_size=1, max_size=30))
def test_a_path_has_no_character_that_would_end_it(topic: bytes, user: bytes) -> None:
    path = path_to(topic, user, "dead")
    assert path.isascii()
    assert path.count("/") == 3
    assert not set(path) & set(' "<>;,?#\\\r\n\0')
