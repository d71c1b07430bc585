"""What a front says at its start."""

from __future__ import annotations

import logging

import pytest

from common.config import FrontSettings
from httpfront.__main__ import warn_of_open_access


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, None),
        ({"host": ("127.0.0.1", "::1")}, None),
        ({"host": ("127.0.0.1", "::", "10.0.0.7")}, "10.0.0.7, ::"),
        ({"ops_host": ("0.0.0.0",)}, "0.0.0.0"),
        ({"host": ("0.0.0.0",), "api_keys_file": "keys.toml"}, None),
        ({"host": ("0.0.0.0",), "allowed_hosts": ("mail.example",)}, "0.0.0.0"),
    ],
)
def test_beyond_loopback_a_front_is_safe_only_with_keys(
    settings: dict[str, object], named: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_open_access(FrontSettings(**settings))  # type: ignore[arg-type]
    said = [(each.levelno, each.__dict__["addresses"]) for each in caplog.records]
    assert said == ([(logging.WARNING, named)] if named else [])
    assert all("safe only with keys" in each.message for each in caplog.records)
