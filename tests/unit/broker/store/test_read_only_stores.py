"""Looking at a store changes nothing and sees everything; a store that is lost is missed, a first start is not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import apsw
import pytest

from broker import start
from broker.errors import UnusableStoreError
from broker.records import SubscriptionEnded, SubscriptionSet, TopicBegan
from broker.store.base import Owner
from broker.store.sqlite import files, vfs
from broker.store.sqlite import store as sqlite_store
from broker.store.sqlite.clone import clone_store
from broker.store.sqlite.files import FILE, LOCK, read_store_id
from broker.store.sqlite.inspection import inspect
from broker.store.sqlite.store import SqliteStore
from broker.tools import restore
from common.clock import NEW
from common.cluster.slots import BrokerAddress, ClusterMap
from common.config import StartBrokersSettings
from common.errors import StartError
from common.process.locks import lock_file, lock_to_look
from tests.support.driver import STORE_ID, BrokerDriver, loaded
from tests.support.life import LIFE, live
from tests.support.snapshot import snapshot

OTHER_ID = "feedbeef"
OWNER = Owner("fanmail", "b0")
CLUSTER = ClusterMap("fanmail", 1, [BrokerAddress("b0", "ipc:///nowhere")])
Folders = dict[str, Path]


def open_store(folder: Path, new_id: str = STORE_ID) -> SqliteStore:
    return SqliteStore(folder, OWNER, new_id, reserve=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def left(tmp_path: Path) -> Folders:
    """What a broker leaves when it is killed, with all that it stored still in the log, and when it stops."""
    folder = tmp_path / "left" / "b0"
    folder.mkdir(parents=True)
    store = open_store(folder)
    live(BrokerDriver(store=store), takewhile(lambda burst: not isinstance(burst[0], SubscriptionEnded), LIFE))
    killed = Path(shutil.copytree(folder, tmp_path / "killed" / "b0"))
    store.close()
    assert (killed / f"{FILE}-wal").stat().st_size
    assert not (folder / f"{FILE}-wal").exists()
    return {"stopped": folder, "killed": killed}


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_looking_changes_nothing_and_sees_what_is_in_the_log(left: Folders, how: str, tmp_path: Path) -> None:
    folder = left[how]
    before = contents(folder)
    with inspect(folder / FILE) as inspection:
        inspection.check()
        assert inspection.summary().messages == 3
    with pytest.raises(StartError, match="broker b0 has slots, and the cluster is b7 now"):
        check_data(folder, ClusterMap("fanmail", 1, [BrokerAddress("b7", "ipc:///nowhere")]))
    check_data(folder, CLUSTER)
    target = tmp_path / "copy"
    target.mkdir()
    clone_store(folder / FILE, target / FILE, OTHER_ID)
    assert contents(folder) == before
    assert list(contents(target)) == [FILE]
    copied, stored = open_store(target), open_store(folder)
    theirs, ours = snapshot(loaded(copied)), snapshot(loaded(stored))
    copied.close()
    stored.close()
    assert (theirs.pop("store_id"), ours.pop("store_id")) == (OTHER_ID, STORE_ID)
    assert theirs["topics"][b"t"].pop("epoch") == f"{OTHER_ID}1"
    assert ours["topics"][b"t"].pop("epoch") == f"{STORE_ID}1"
    assert theirs == ours


def test_a_copy_with_the_same_id_keeps_the_epochs_of_topics_that_came_from_elsewhere(tmp_path: Path) -> None:
    """A replicated broker that is made of a store keeps all ids; a restored one gives others."""
    store = open_store(private(tmp_path / "old"))
    store.begin([TopicBegan(b"t", 5, 1, "elsewhere1"), SubscriptionSet(b"t", b"u", 1)], NEW)
    store.close()
    for copy, epoch in ((STORE_ID, "elsewhere1"), (OTHER_ID, f"{OTHER_ID}5")):
        clone_store(tmp_path / "old" / FILE, private(tmp_path / copy) / FILE, copy)
        opened = open_store(tmp_path / copy)
        assert loaded(opened).topics[b"t"].epoch == epoch
        opened.close()


def private(folder: Path) -> Path:
    folder.mkdir(0o700)
    return folder


def check_data(folder: Path, cluster: ClusterMap) -> None:
    start.check_data(StartBrokersSettings(store="sqlite", data=str(folder.parent)), cluster)


def test_who_looks_takes_no_lock_that_is_not_there_and_shares_one_that_is(tmp_path: Path) -> None:
    assert lock_to_look(tmp_path / LOCK) is None
    assert not list(tmp_path.iterdir())
    os.close(lock_file(tmp_path / LOCK))
    before = contents(tmp_path)
    looking = [lock_to_look(tmp_path / LOCK) for _ in range(2)]
    with pytest.raises(StartError, match="already in use"):
        lock_file(tmp_path / LOCK)
    assert contents(tmp_path) == before
    for each in looking:
        assert each is not None
        os.close(each)
    held = lock_file(tmp_path / LOCK)
    with pytest.raises(StartError, match=f"already in use by process {os.getpid()}"):
        lock_to_look(tmp_path / LOCK)
    os.close(held)


# --- a store that is lost


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def leave_a_header(path: Path) -> None:
    """As a first start does that has come no further."""
    path.unlink()
    db = apsw.Connection(str(path))
    db.pragma("page_size", 8192)
    db.pragma("journal_mode", "wal")
    db.close()


@pytest.mark.parametrize(
    ("how", "lose", "traces"),
    [
        *(("stopped", lose, "id") for lose in (remove, empty, leave_a_header)),
        *(("killed", lose, traces) for lose in (remove, empty) for traces in ("id and log", "log")),
    ],
)
def test_a_store_that_is_lost_is_missed(left: Folders, how: str, lose: Callable[[Path], None], traces: str) -> None:
    folder = left[how]
    path = folder / FILE
    lose(path)
    if traces == "log":
        (folder / LOCK).unlink()
    before = contents(folder)
    with pytest.raises(UnusableStoreError, match=r"restore a copy \(bin/restore\), or remove") as refused:
        open_store(folder)
    assert contents(folder) == before
    begin_anew = [each for each in folder.iterdir() if str(each) in str(refused.value).split("or remove")[1]]
    for each in begin_anew:
        each.unlink()
    store = open_store(folder, OTHER_ID)
    assert loaded(store).store_id == OTHER_ID, "and that is all it takes to begin anew"
    store.close()


def test_the_lock_file_names_the_store_through_starts(tmp_path: Path) -> None:
    for _ in range(3):
        handle = lock_file(tmp_path / LOCK)
        open_store(tmp_path).close()
        os.close(handle)
        assert read_store_id(tmp_path) == STORE_ID
    (tmp_path / LOCK).write_text("4711\n")  # as an older version leaves it
    assert read_store_id(tmp_path) == ""
    open_store(tmp_path, OTHER_ID).close()
    assert (tmp_path / LOCK).read_text() == f"{4711:<19}\nstore {STORE_ID}\n"


def test_a_first_start_that_is_killed_at_any_step_is_followed_by_one_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, steps = tmp_path / "b0", tmp_path / "steps"
    folder.mkdir()

    def watched(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            shutil.copytree(folder, steps / f"{len(list(steps.glob('*'))):03}-{name}")
            return real(*arguments)

        patched.setattr(owner, name, call)

    steps.mkdir()
    with monkeypatch.context() as patched:
        for name in ("xOpen", "xDelete"):
            watched(vfs.StoreVfs, name)
        for name in ("xWrite", "xSync", "xTruncate"):
            watched(vfs._File, name)
        for owner, name in ((sqlite_store, "write_store_id"), (files.os, "pwrite"), (files.os, "fsync")):
            watched(owner, name)
        lock = lock_file(folder / LOCK)
        store = open_store(folder)
        live(BrokerDriver(store=store), LIFE[:1])
    store.close()
    os.close(lock)
    taken = sorted(steps.iterdir())
    kinds = {each.name.split("-")[1] for each in taken}
    assert kinds == {"xOpen", "xDelete", "xWrite", "xSync", "write_store_id", "pwrite", "fsync"}
    assert {bool(read_store_id(each)) for each in taken} == {True, False}
    for each in taken:
        check_data_of(each, tmp_path / "data")
        store = open_store(each, OTHER_ID)
        assert loaded(store).store_id in (STORE_ID, OTHER_ID)
        store.close()
        assert read_store_id(each)


def check_data_of(folder: Path, data: Path) -> None:
    """What `bin/start-brokers` looks at first."""
    check_data(Path(shutil.copytree(folder, data / "b0")), CLUSTER)
    shutil.rmtree(data)


# --- restoring


@pytest.fixture
def restoring(left: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Restores what two brokers have left into `tmp_path / "data"`."""
    shutil.copytree(left["killed"], tmp_path / "killed" / "b1")
    monkeypatch.setattr("sys.argv", ["restore", str(tmp_path / "killed"), str(tmp_path / "data")])
    return restore.main


@pytest.mark.parametrize(("flags", "unproven"), [([], True), (["--force"], False)])
def test_a_restored_broker_asks_the_others_what_it_still_owns_unless_it_is_forced(
    restoring: Callable[[], object], tmp_path: Path, flags: list[str], unproven: bool
) -> None:
    sys.argv += flags
    restoring()
    for broker in ("b0", "b1"):
        store = open_store(tmp_path / "data" / broker)
        assert loaded(store).slots.unproven == unproven
        store.close()


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal"])
def test_restore_touches_nothing_where_there_is_a_part_of_a_store(
    restoring: Callable[[], object], tmp_path: Path, name: str
) -> None:
    there = tmp_path / "data" / "b1" / name
    there.parent.mkdir(parents=True)
    there.write_bytes(b"")
    with pytest.raises(StartError, match=f"{there}: .* it is not replaced"):
        restoring()
    assert list(tmp_path.glob("data/**/*")) == [there.parent, there]


class Killed(BaseException):
    """Of the process that is tried."""


@pytest.mark.parametrize("step", range(6))
def test_a_broker_does_not_begin_anew_where_a_restore_was_killed(
    restoring: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    steps = iter(range(step + 1, 0, -1))

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(steps) == 1:
                raise Killed
            return real(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(restore, "lock_file", lambda path: None)
        for owner, name in ((restore, "clone_store"), (Path, "replace"), (restore, "sync")):
            patched.setattr(owner, name, killing(getattr(owner, name)))
        with pytest.raises(Killed):
            restoring()
    found = 0
    for folder in sorted((tmp_path / "data").iterdir()):
        if (folder / FILE).exists():
            store = SqliteStore(folder, OWNER, OTHER_ID, reserve=0)
            assert loaded(store).messages == 3
            store.close()
            found += 1
        else:
            with pytest.raises(UnusableStoreError, match="shows that there was a store: restore a copy"):
                SqliteStore(folder, OWNER, OTHER_ID, reserve=0)
    assert found == max(0, step - 1) // 2
