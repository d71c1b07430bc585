"""What processes do around their main functions."""

from __future__ import annotations

import os

import pytest

from common.process.readiness import on_hangup


@pytest.mark.parametrize(
    ("at_start", "later", "does"),
    [
        pytest.param(True, False, "stop", id="its terminal was closed"),
        pytest.param(True, True, "reload", id="somebody sent it"),
        pytest.param(False, False, "reload", id="there never was a terminal"),
    ],
)
def test_a_hangup_reloads_unless_the_terminal_was_closed(
    monkeypatch: pytest.MonkeyPatch, at_start: bool, later: bool, does: str
) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "isatty", lambda fd: at_start)
    hung_up = on_hangup(lambda: done.append("reload"), lambda: done.append("stop"))
    monkeypatch.setattr(os, "isatty", lambda fd: later)
    hung_up()
    assert done == [does]
