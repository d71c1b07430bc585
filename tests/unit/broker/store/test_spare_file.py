"""The room that is kept for a full disk: given in steps, made whole again, never taken from others who need it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from broker.store.sqlite import spare_file
from broker.store.sqlite.spare_file import FULL_BYTES, SpareFile

STEP = 3
ROOMY = 2**40


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_it_is_given_in_steps_and_is_whole_again_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = SpareFile(tmp_path, 8, STEP)
    sizes = [kept.size]
    while kept.give():
        sizes.append(kept.size)
    assert sizes == [8, 5, 2, 0]
    assert size_of(tmp_path) == 0
    assert kept.short
    kept.keep_up(15)
    assert (kept.size, kept.short) == (0, True), "others need what is left more"
    kept.keep_up(16)
    assert (kept.size, size_of(tmp_path), kept.short) == (8, 8, True)
    kept.keep_up(2 * FULL_BYTES + 8)
    assert not kept.short
    words = [record.getMessage() for record in caplog.records]
    assert ["the disk is full" in each for each in words] == [True, False], "said once"
    assert words[1] == "the disk has space again"


def test_what_is_left_of_it_is_found_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SpareFile(tmp_path, 8, STEP).give()
    monkeypatch.setattr(
        spare_file.os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 0, 0, 9, 9, 9, 0, 255))
    )
    kept = SpareFile(tmp_path, 8, STEP)
    assert (kept.size, kept.short) == (5, True)


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    kept = SpareFile(tmp_path, -7)
    kept.keep_up(ROOMY)
    assert (kept.give(), list(tmp_path.iterdir())) == (False, [])


def test_a_spare_that_cannot_be_made_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spare_file.os, "posix_fallocate", full)
    assert SpareFile(tmp_path, 8).size == 0
