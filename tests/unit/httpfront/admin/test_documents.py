"""Cursors and masks of the admin API."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpfront.admin.brokers import MASKED, ConfigResource
from httpfront.admin.documents import cursor_of, read_cursor
from tests.support.table import table


@given(st.binary(max_size=1024))
def test_a_cursor_gives_its_name_back(name: bytes) -> None:
    assert read_cursor(cursor_of(name)) == name
    assert set(cursor_of(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@table("text", ["a", "é", "a b", "===="])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        read_cursor(text)


def test_what_sounds_like_a_secret_is_masked() -> None:
    shown = ConfigResource({"port": 1, "curve_secret": "x", "keys": "", "admin_token": "y"})._shown
    assert shown == {"port": 1, "curve_secret": MASKED, "keys": "", "admin_token": MASKED}
