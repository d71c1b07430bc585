"""Locks of processes that stop, and files of the run directory that somebody removes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import StartError
from common.process import locks
from common.process.environment import SUPERVISOR
from common.process.folders import private_dir
from common.process.locks import LostLockError, hold_lock, lock_file, mark_stopping, renew_locks
from common.process.run_dir import Keeper
from tests.e2e.cluster import PATIENCE, clean_environ

HOLDER = """
import sys, time
from common.process.folders import private_dir
from common.process.locks import hold_lock, mark_stopping
hold_lock(sys.argv[1], 0)
if sys.argv[2] == "stopping":
    mark_stopping()
print("held", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another process that has a lock."""

    def __init__(self, path: Path, word: str = "", **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), word],
            env=clean_environ() | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def ends_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It ends when somebody waits for it."""

        def pause(_: float) -> None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE)

        monkeypatch.setattr(locks, "pause", pause)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """The locks of this process are given back."""
    yield
    for handle in locks._held.values():
        os.close(handle)
    locks._held.clear()


@pytest.mark.parametrize("environ", [{}, {SUPERVISOR: str(2**22 + 1)}], ids=["it says so", "its supervisor has died"])
def test_who_is_stopping_is_waited_for(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Holder(tmp_path / "lock", "" if environ else "stopping", **environ)
    holder.ends_soon(monkeypatch)
    hold_lock(tmp_path / "lock", PATIENCE)
    assert int((tmp_path / "lock").read_text()) == os.getpid()
    holder.close()


@pytest.mark.parametrize("environ", [{}, {SUPERVISOR: str(os.getpid())}], ids=["alone", "supervised"])
def test_who_serves_is_not_waited_for(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "pause", lambda _: pytest.fail("it waited"))
    holder = Holder(tmp_path / "lock", **environ)
    with pytest.raises(StartError, match=rf"lock: already in use by process {holder.process.pid}$"):
        hold_lock(tmp_path / "lock", PATIENCE)
    holder.close()


def test_the_wait_has_an_end(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "lock", "stopping")
    with pytest.raises(StartError, match=rf"already in use by process {holder.process.pid}$"):
        hold_lock(tmp_path / "lock", 0.2)
    holder.close()


def test_a_process_that_stops_can_still_be_found_by_its_lock(tmp_path: Path) -> None:
    hold_lock(tmp_path / "lock", 0)
    mark_stopping()
    assert int((tmp_path / "lock").read_text()) == os.getpid()


def test_what_is_removed_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = private_dir(tmp_path / "run")
    hold_lock(folder / "lock", 0)
    keeper = Keeper(folder, [folder / "lock"])
    keeper.files[folder / "file"] = "text"
    keeper.look()
    caplog.clear()
    shutil.rmtree(folder)
    keeper.look()
    keeper.look()
    assert [each.message for each in caplog.records] == ["removed files were restored"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "file").read_text() == "text"
    (folder / "file").write_text("newer")
    keeper.look()
    (folder / "file").unlink()
    keeper.look()
    assert (folder / "file").read_text() == "newer"
    with pytest.raises(StartError, match="already in use"):
        lock_file(folder / "lock")


def test_what_cannot_be_made_again_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = private_dir(tmp_path / "run")
    hold_lock(folder / "lock", 0)
    keeper = Keeper(folder, [folder / "lock"])
    shutil.rmtree(folder)
    folder.write_text("something else")
    keeper.look()
    keeper.look()
    assert [each.message for each in caplog.records] == ["removed files cannot be restored"]
    folder.unlink()
    keeper.look()
    assert (folder / "lock").exists()


def test_two_cannot_have_one_lock_whatever_is_removed(tmp_path: Path) -> None:
    hold_lock(tmp_path / "lock", 0)
    (tmp_path / "lock").unlink()
    holder = Holder(tmp_path / "lock")
    with pytest.raises(LostLockError, match=f"process {holder.process.pid} has it now"):
        renew_locks([tmp_path / "lock"])
    holder.close()
