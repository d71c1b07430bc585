"""A durable store, opened again at random points of random histories, gives back what was committed, and no more."""

from __future__ import annotations

import shutil
from random import Random

import pytest

from broker.store.sqlite.files import FILE
from broker.store.sqlite.inspection import inspect
from broker.tools.checking import check
from tests.support.driver import BrokerDriver
from tests.support.histories import History, new_folder
from tests.support.snapshot import check_state, snapshot

REOPENINGS = 10
"""Of one history."""


def reopen(seed: int, reopenings: int = REOPENINGS) -> None:
    """One history; raises `AssertionError`."""
    rng = Random(seed)
    root = new_folder()
    history = History(rng, root)
    try:
        for _ in range(reopenings):
            committed = snapshot(history.broker.state)
            for _ in range(rng.randrange(1, 12)):
                for _ in range(rng.randrange(1, 6)):
                    history.step()
                if rng.random() < 0.9:
                    history.broker.commit()
                    committed = snapshot(history.broker.state)
                if rng.random() < 0.3:
                    history.broker.store.reclaim()
            if rng.random() < 0.3:
                copy_is_whole(history, committed)
            clock = history.broker.clock
            history.killed()
            looked_at(history, committed)
            history.broker = history.open(clock)
            assert snapshot(history.broker.state) == committed
            check_state(history.broker.state)
    finally:
        history.broker.store.close()
        shutil.rmtree(root)


def looked_at(history: History, committed: dict[str, object]) -> None:
    """As `bin/inspect` does."""
    with inspect(history.folder / FILE) as inspection:
        assert check(inspection) is None
        topics = {row.name: (row.messages, row.bytes) for row in inspection.topics(b"", 100)}
    kept: dict[bytes, dict[str, object]] = committed["topics"]  # type: ignore[assignment]
    assert topics == {name: (topic["messages"], topic["bytes"]) for name, topic in kept.items()}


def copy_is_whole(history: History, committed: dict[str, object]) -> None:
    """A backup that is made now, whatever is still to be deleted."""
    history.broker.commit()
    now = snapshot(history.broker.state)
    path, backup = history.broker.store.backup("backup-1.db")
    while not backup.step():
        pass
    folder = history.root / "copy"
    folder.mkdir()
    path.rename(folder / FILE)
    original, history.folder = history.folder, folder
    try:
        broker: BrokerDriver = history.open()
        assert snapshot(broker.state) == now
        broker.store.close()
    finally:
        history.folder = original
        shutil.rmtree(folder)
    committed.clear()
    committed.update(now)


@pytest.mark.parametrize("seed", range(30))
def test_what_was_committed_is_there_again_after_any_history(seed: int) -> None:
    reopen(seed)
