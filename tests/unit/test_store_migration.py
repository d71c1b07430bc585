"""A store that an earlier version has written is brought up to date when it is opened."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from broker.store.files import FILE
from broker.store.schema import MIGRATIONS, VERSION
from broker.store.sqlite import Owner, SqliteStore
from common import ops
from common.ops import Op
from tests.support.driver import STORE_ID, BrokerDriver

NEWER = {1: "DROP TABLE topic_settings"}
"""What takes a file from the next version back to this one."""


def open_store(folder: Path) -> SqliteStore:
    return SqliteStore(folder, Owner("fanmail", "b0"), STORE_ID, reserve=0)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_store_goes_on(tmp_path: Path, version: int) -> None:
    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    broker.commit()
    store.close()
    db = apsw.Connection(str(tmp_path / FILE))
    for each in reversed(range(version, VERSION)):
        db.execute(NEWER[each])
    db.pragma("user_version", version)
    db.close()

    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    change = ops.ChangeTopic(["max_messages"], ops.TopicSettings(max_messages=3))
    assert broker.ask(Op.TOPIC_CHANGE, b"t", args=change).code == ""
    broker.commit()
    store.close()
    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    assert broker.state.topics[b"t"].settings.max_messages == 3
    assert broker.bodies(b"t", b"u") == [b"x"]
    store.close()
    db = apsw.Connection(str(tmp_path / FILE))
    assert db.pragma("user_version") == VERSION
    db.close()


def test_there_is_a_step_from_every_version() -> None:
    assert set(MIGRATIONS) == set(NEWER) == set(range(1, VERSION))


@pytest.mark.parametrize("counted", [0, 1, 2])
def test_what_an_older_version_put_back_goes_on_with_attempts_that_were_not_given_out(
    tmp_path: Path, counted: int
) -> None:
    """It counted attempts from 0 again: those of the row are of the time after the putting back."""
    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    broker.subscribe(b"t", b"u", max_deliveries=2)
    broker.publish(b"t", b"x")
    for _ in range(2):
        broker.lease(b"t", b"u", 1)
        broker.elapse(1)
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    broker.commit()
    store.close()
    db = apsw.Connection(str(tmp_path / FILE))
    db.execute("UPDATE held SET attempt = ?", (counted,))
    db.close()
    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    broker.configure(b"t", b"u", max_deliveries=5)
    assert broker.lease(b"t", b"u").result.attempt == 2 + counted + 1
    store.close()
