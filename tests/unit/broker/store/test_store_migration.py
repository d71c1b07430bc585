"""Stores that old commits have made are looked at as they are, and are brought up to date when a broker opens them.

tests/support/stores/make.py says how they were made. A schema joins with a file there, and a row in CHANGED.
"""

from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from broker.errors import UnusableStoreError
from broker.records import MessageStored, Payload, SubscriptionSet, TopicBegan
from broker.state.state import State
from broker.store.base import Owner
from broker.store.sqlite.files import FILE
from broker.store.sqlite.inspection import inspect
from broker.store.sqlite.schema import LAID_OUT, VERSION
from broker.store.sqlite.slot_tables import SLOT_TABLES
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.vfs import StoreVfs
from common.clock import NEW
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver, loaded
from tests.support.life import BATCH, OFFSETS
from tests.support.snapshot import check_state, pieces_of, snapshot
from tests.support.tiny import TINY_STORE

STORES = {int(path.name.split(".")[0]): path for path in (Path(__file__).parents[3] / "support/stores").glob("*.gz")}
CHANGED = {1: None, 2: (b"t", None, 2**40, None, False)}
"""What the operator has changed of the topic, by schema; those that follow have what the last one here has."""
OWNER = Owner("fanmail", "b0")


@pytest.fixture(params=sorted(STORES))
def version(request: pytest.FixtureRequest, tmp_path: Path) -> int:
    """A schema, whose store is in the folder."""
    (tmp_path / FILE).write_bytes(gzip.decompress(STORES[request.param].read_bytes()))
    return int(request.param)


def open_store(folder: Path, owner: Owner = OWNER) -> SqliteStore:
    return SqliteStore(folder, owner, "00000000", reserve=0, thresholds=TINY_STORE)


def version_of(folder: Path) -> int:
    return int.from_bytes((folder / FILE).read_bytes()[60:64], "big")


def contents(state: State) -> dict[str, Any]:
    """What the stores of all schemas have in common."""
    topic = snapshot(state)["topics"][b"t"]
    pieces = map(state.bodies.with_content, pieces_of(state.topics[b"t"]))
    return {
        "epoch": topic["epoch"],
        "places": (topic["head_seq"], topic["next_seq"], topic["positions"]),
        "pieces": [(p.first, p.count, p.time, p.expires, p.headers, p.body, p.offsets) for p in pieces],
        "held": {user: each["held"] for user, each in topic["deliveries"].items()},
        "dead": {user: each["dead"] for user, each in topic["deliveries"].items()},
        "settings": {
            user: (each["expires_after"], each["max_deliveries"]) for user, each in topic["deliveries"].items()
        },
        "keys": snapshot(state)["keys"],
        "delayed": snapshot(state)["delayed"],
    }


EXPECTED = {
    "epoch": "0badcafe1",
    "places": (5, 11, {b"u": 5, b"v": 7}),
    "pieces": [
        (5, 1, 1702, 0, b"\xff", b"", b""),
        (6, 1, 1703, 0, b"", b"six", b""),
        (7, 1, 1800, 0, b"kept", b"later", b""),
        (8, 3, 1900, 9000, b"", BATCH, OFFSETS),
    ],
    "held": {b"u": {3: (3, 0, 9_500_000, (3, 1701, 2, b"", b"", 9000))}, b"v": {6: (1, 9_000_000, 0, None)}},
    "dead": {b"u": [], b"v": [(5, 1702, 1, b"kept", b"dead", 0)]},
    "settings": {b"u": (60_000_000, 3), b"v": (0, 0)},
    "keys": [(b"t", b"l", b"e" * 16, 1_000_001, 0, 0, 5), (b"later", b"k", b"d" * 16, 1_000_002, 0, 0, 1900)],
    "delayed": [(2, b"nobody's", 1790, Payload(b"", BATCH, 3, OFFSETS), 30_000)],
}


def test_an_older_store_goes_on(tmp_path: Path, version: int) -> None:
    store = open_store(tmp_path)
    state = loaded(store)
    check_state(state)
    assert contents(state) == EXPECTED
    assert snapshot(state)["topics"][b"t"]["changed"] == CHANGED[min(version, max(CHANGED))]
    store.close()
    assert version_of(tmp_path) == VERSION

    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    change = ops.ChangeTopic(["max_messages"], ops.TopicSettings(max_messages=9))
    assert broker.ask(Op.TOPIC_CHANGE, b"t", args=change).code == ""
    broker.publish(b"t", b"new")
    broker.commit()
    before = snapshot(broker.state)
    store.close()
    store = open_store(tmp_path)
    assert snapshot(loaded(store)) == before
    store.close()


def test_an_older_store_is_looked_at_as_it_is(tmp_path: Path, version: int) -> None:
    before = (tmp_path / FILE).read_bytes()
    with inspect(tmp_path / FILE) as inspection:
        inspection.check()
        assert tuple(inspection.summary()) == ("fanmail", "b0", 1, 6, 2, 2, 1, 1, 2)
        (row,) = inspection.topics(b"", 10)
    assert (row.name, row.epoch, row.messages, row.subscriptions) == (b"t", "0badcafe1", 6, 2)
    assert (tmp_path / FILE).read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / FILE]


def test_an_older_store_of_another_broker_is_refused_as_it_is(tmp_path: Path, version: int) -> None:
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UnusableStoreError, match="not of 'b7'"):
        open_store(tmp_path, Owner("fanmail", "b7"))
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("topics", [20, 40])
def test_a_store_with_pages_behind_its_tables_gets_further_tables(tmp_path: Path, topics: int) -> None:
    """SQLite moves a page to the end of the file for each of them, and one that it has moved, again."""
    store = open_store(tmp_path)
    for number in range(1, topics + 1):
        began = [TopicBegan(b"%d" % number, number, 1), SubscriptionSet(b"%d" % number, b"u", 1)]
        store.begin([*began, MessageStored(b"%d" % number, 1, 1, Payload(b"", b"x" * 500), piece=number)], NEW)
    store.close()
    vfs = StoreVfs()
    with closing(apsw.Connection(str(tmp_path / FILE), vfs=vfs.name)) as db:
        for table in SLOT_TABLES:
            db.execute(f"DROP TABLE {table.name}")
        db.pragma("incremental_vacuum")
        assert not db.pragma("freelist_count")
        db.pragma("user_version", LAID_OUT)
    store = open_store(tmp_path)
    assert len(loaded(store).topics) == topics
    store.close()
    store = open_store(tmp_path)
    store._contents.add_table()
    assert len(loaded(store).topics) == topics
    store.close()


def test_there_is_a_store_of_every_older_version() -> None:
    assert set(STORES) >= set(range(1, VERSION))


def test_a_newer_store_is_refused_as_it_is(tmp_path: Path, version: int) -> None:
    vfs = StoreVfs()
    db = apsw.Connection(str(tmp_path / FILE), vfs=vfs.name if version >= LAID_OUT else None)
    db.pragma("journal_mode", "delete")
    db.pragma("user_version", VERSION + 1)
    db.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UnusableStoreError, match="written by a newer version"):
        open_store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


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
    store._db.execute("UPDATE held SET attempt = ?", (counted,))
    store.close()
    store = open_store(tmp_path)
    broker = BrokerDriver(store=store)
    broker.configure(b"t", b"u", max_deliveries=5)
    assert broker.lease(b"t", b"u").result.attempt == 2 + counted + 1
    store.close()
