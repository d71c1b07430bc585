"""Copies of a store: somebody asks until they are complete, and one that nobody asks for is removed."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from broker.store.backup_job import MAX_COPIES, BackupJobs
from broker.store.base import Owner
from broker.store.sqlite.files import FILE
from broker.store.sqlite.store import SqliteStore
from broker.tools import backup
from common.errors import FanmailError, StartError
from tests.support.driver import STORE_ID, BrokerDriver
from tests.support.life import LIFE, live

NAME, OTHER = "backup-1.db", "backup-2.db"
KEEP = 3


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path, Owner("fanmail", "b0"), STORE_ID, reserve=0)
    live(BrokerDriver(store=store), LIFE[:3])
    return store


@pytest.fixture
def backups(store: SqliteStore) -> BackupJobs:
    return BackupJobs(store, KEEP)


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("backup-*"))


def test_a_complete_copy_is_there_until_nobody_asks_for_it(backups: BackupJobs, tmp_path: Path) -> None:
    assert not backups.ask(NAME).done
    backups.step()
    backups.expire(10)
    assert backups.ask(NAME).done
    backups.expire(10 + KEEP)
    assert copies(tmp_path) == [NAME], "it was asked for meanwhile"
    backups.expire(10 + 2 * KEEP - 1)
    assert copies(tmp_path) == [NAME]
    backups.expire(10 + 2 * KEEP)
    assert copies(tmp_path) == []
    assert not backups.ask(NAME).done, "and who asks after all gets another"


def test_a_copy_that_is_being_made_for_nobody_is_given_up(backups: BackupJobs, tmp_path: Path) -> None:
    backups.ask(NAME)
    assert copies(tmp_path)
    backups.expire(1)
    with pytest.raises(FanmailError, match="another copy is being made"):
        backups.ask(OTHER)
    backups.expire(1 + KEEP)
    assert (copies(tmp_path), backups.busy) == ([], False)
    backups.step()
    backups.ask(OTHER)
    assert backups.busy


def test_a_copy_that_was_taken_away_leaves_room_for_the_next(backups: BackupJobs, tmp_path: Path) -> None:
    for number in range(MAX_COPIES):
        name = f"backup-{number}.db"
        backups.ask(name)
        backups.step()
        (tmp_path / name).rename(tmp_path / "taken")
    with pytest.raises(FanmailError, match="try later"):
        backups.ask("backup-x.db")
    backups.expire(1)
    backups.expire(1 + KEEP)
    backups.ask("backup-x.db")


def test_a_broker_that_stops_leaves_a_complete_copy_to_who_fetches_it(backups: BackupJobs, tmp_path: Path) -> None:
    backups.ask(NAME)
    backups.step()
    backups.ask(OTHER)
    backups.cancel()
    assert copies(tmp_path) == [NAME]


def test_a_copy_is_moved_to_another_file_system_even_if_the_broker_removes_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, target = tmp_path / NAME, tmp_path / "target"
    copy.write_bytes(b"all of it")
    real = shutil.copyfile

    def other_file_system(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def removed_meanwhile(source: Path, target: Path) -> None:
        real(source, target)
        source.unlink()

    monkeypatch.setattr(Path, "rename", other_file_system)
    monkeypatch.setattr(shutil, "copyfile", removed_meanwhile)
    backup._move(copy, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {FILE: b"all of it"}
    with pytest.raises(StartError, match="No such file"):
        backup._move(copy, target)


def test_what_killed_backups_have_left_is_removed_at_the_next_start(store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    ours = [f"{NAME}{end}" for end in ("", ".part", ".part-journal", "-journal", "-wal", "-shm")]
    others = ["backup-1.db.gz", "backup-of-mine.db", "notes"]
    for name in ours + others:
        (tmp_path / name).touch()
    before = {path.name for path in tmp_path.iterdir()}
    SqliteStore(tmp_path, Owner("fanmail", "b0"), STORE_ID, reserve=0).close()
    assert before - {path.name for path in tmp_path.iterdir()} == set(ours)
