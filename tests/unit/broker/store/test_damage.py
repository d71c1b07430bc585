"""A damaged store is refused, or what is damaged is set aside. Nothing wrong is delivered, every loss is reported."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker.errors import DamagedError, StoreError, UnusableStoreError
from broker.store.base import Owner
from broker.store.sqlite.files import DAMAGE_MARKER, FILE, WAL
from broker.store.sqlite.inspection import inspect
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.vfs import PAGE_BYTES
from broker.tools.checking import check
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import STORE_ID, BrokerDriver, batch
from tests.support.histories import History, new_folder
from tests.support.snapshot import snapshot
from tests.support.table import table
from tests.support.tiny import TINY, TINY_STORE

# --- what is done to a file


def flip(data: bytearray, rng: Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def page_of(data: bytearray, rng: Random) -> slice:
    at = rng.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES
    return slice(at, at + PAGE_BYTES)


def zero(data: bytearray, rng: Random) -> None:
    data[page_of(data, rng)] = bytes(PAGE_BYTES)


def garble(data: bytearray, rng: Random) -> None:
    data[page_of(data, rng)] = rng.randbytes(PAGE_BYTES)


def swap(data: bytearray, rng: Random) -> None:
    one, other = page_of(data, rng), page_of(data, rng)
    data[one], data[other] = data[other], data[one]


def cut(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data)) :]


FILES: dict[Callable[[bytearray, Random], None], int] = {flip: 8, zero: 2, garble: 2, swap: 3, cut: 1}
LOGS = (flip, cut)
"""SQLite takes the log up to the damage: what was committed after it is gone, and nobody notices."""


def spoil(seed: int) -> str:
    """One history, one damage; says what came of it. Raises `AssertionError`."""
    rng = Random(seed)
    root = new_folder()
    history = History(rng, root, body_bytes=rng.choice((40, 3000, 30_000)))
    try:
        committed = lived(history)
        in_log = rng.random() < 0.25
        if in_log:
            history.killed()
            path = Path(f"{history.folder / FILE}{WAL}")
        else:
            history.broker.store.close()
            path, committed = history.folder / FILE, committed[-1:]
        data = bytearray(path.read_bytes())
        if not data:
            return "nothing to damage"
        how = rng.choice(LOGS) if in_log else rng.choices(list(FILES), list(FILES.values()))[0]
        how(data, rng)
        path.write_bytes(data)
        return f"{'log' if in_log else 'file'} {how.__name__}: {outcome(history, committed)}"
    finally:
        history.broker.store.close()
        shutil.rmtree(root)


def lived(history: History) -> list[dict[str, Any]]:
    """What was committed, state by state."""
    committed = [snapshot(history.broker.state)]
    for _ in range(20):
        for _ in range(history.rng.randrange(1, 5)):
            history.step()
        history.broker.commit()
        committed.append(snapshot(history.broker.state))
    return committed


def outcome(history: History, committed: list[dict[str, Any]]) -> str:
    """What a broker makes of what is there."""
    try:
        history.broker = history.open(history.broker.clock)
    except UnusableStoreError:
        return "refused"
    state, store = history.broker.state, history.broker.store
    lost = [each.id for each in store.lost]
    damaged = [piece_id for topic in state.topics.values() for piece_id in unreadable(state, topic)]
    assert any(same(snapshot_of(state), each, damaged, lost) for each in committed), "it is none that was committed"
    try:
        served(history, committed)
    except StoreError:
        assert (history.folder / DAMAGE_MARKER).exists(), "it failed because of the damage"
        store.close()
        with pytest.raises(UnusableStoreError, match="damaged"):
            history.open()
        return "refused when it was written"
    return "set aside" if damaged or lost else "no harm"


def unreadable(state: Any, topic: Any) -> Iterator[int]:
    for piece in topic.pieces(topic.head_seq) if topic.messages else ():
        try:
            state.bodies.with_content(piece)
        except DamagedError:
            yield piece.id


def snapshot_of(state: Any) -> dict[str, Any]:
    """Pieces that cannot be read stay as they are."""

    def whole(piece: Any) -> Any:
        try:
            return state.bodies.with_content(piece)
        except DamagedError:
            return piece

    return snapshot(state, whole)


def same(found: dict[str, Any], committed: dict[str, Any], damaged: list[int], lost: list[str]) -> bool:
    """Whether it is what was committed, but for what is known to be damaged."""
    if found["topics"].keys() != committed["topics"].keys() or found["keys"] != committed["keys"]:
        return False
    for name, topic in committed["topics"].items():
        other = found["topics"][name]
        pieces = [(mine, theirs) for mine, theirs in zip(other["pieces"], topic["pieces"], strict=False)]
        if len(other["pieces"]) != len(topic["pieces"]):
            return False
        if any(mine != theirs and mine[8] not in damaged for mine, theirs in pieces):
            return False
        if any(other[each] != topic[each] for each in topic if each not in ("pieces", "deliveries", "tail_readers")):
            return False
        if not lost and other["deliveries"] != topic["deliveries"]:
            return False
    return bool(lost) or found["delayed"] == committed["delayed"]


def served(history: History, committed: list[dict[str, Any]]) -> None:
    """Everybody reads everything, and more is published and read."""
    said = {body for each in committed for body in bodies_of(each)}
    broker = history.broker
    for name, topic in list(broker.state.topics.items()):
        for user in list(topic.subscriptions):
            while (found := broker.take(name, user).result) is not None:
                assert found.body in said, "nothing but what was published is delivered"
            broker.commit()
            broker.store.reclaim()
        new = history.body()
        broker.publish(name, new)
        said.add(new)
        broker.commit()


def bodies_of(committed: dict[str, Any]) -> Iterator[bytes]:
    """Of all messages, delayed ones too: they may have become due."""
    for *_, payload, _ in committed["delayed"]:
        yield from bodies_in(payload.body, payload.offsets)
    for topic in committed["topics"].values():
        for piece in topic["pieces"]:
            yield from bodies_in(piece[4], piece[5])
        for delivery in topic["deliveries"].values():
            yield from (letter[4] for letter in delivery["dead"])
            yield from (held[3][4] for held in delivery["held"].values() if held[3])


def bodies_in(body: bytes, offsets: bytes) -> Iterator[bytes]:
    ends = memoryview(offsets).cast("I")
    if not ends:
        yield body
    for begin, end in itertools.pairwise(ends):
        yield body[begin + 4 : end]


@table("portion", range(10))
def test_a_damaged_store_is_refused_or_serves_what_is_whole(portion: int) -> None:
    outcomes = Counter(spoil(seed).rpartition(" ")[2] for seed in range(portion * 10, portion * 10 + 10))
    assert outcomes


# --- one message among many


def open_broker(folder: Path) -> BrokerDriver:
    store = SqliteStore(folder, Owner("fanmail", "b0"), STORE_ID, reserve=0, thresholds=TINY_STORE)
    return BrokerDriver(store=store, thresholds=TINY, keep=0)


def damage_body(folder: Path, marked: bytes) -> None:
    """A bit of the body flips on the disk."""
    data = bytearray((folder / FILE).read_bytes())
    at = data.rfind(marked)  # an earlier one may be in a page that is free
    assert at > 0
    data[at] ^= 4
    (folder / FILE).write_bytes(data)


def stored(folder: Path, publish: Callable[[BrokerDriver], None]) -> None:
    broker = open_broker(folder)
    broker.subscribe(b"t", b"u")
    broker.subscribe(b"t", b"v")
    publish(broker)
    broker.commit()
    broker.store.close()


def small(broker: BrokerDriver) -> None:
    for number in range(100):
        broker.publish(b"t", b"message %03d" % number, b"kept")


def large(broker: BrokerDriver) -> None:
    for number in range(100):
        broker.publish(b"t", (b"message %03d" % number) * 2000)


@pytest.mark.parametrize("publish", [small, large])
@pytest.mark.parametrize("marked", [b"message 000", b"message 042", b"message 099"])
def test_a_damaged_message_is_set_aside_and_all_others_are_handed_out(
    tmp_path: Path, publish: Callable[[BrokerDriver], None], marked: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    stored(tmp_path, publish)
    damage_body(tmp_path, marked * (1 if publish is small else 300))
    others = [b"message %03d" % number for number in range(100) if b"message %03d" % number != marked]
    damaged = 0
    for user, wanted in ((b"u", others), (b"u", []), (b"v", others)):  # each after another restart
        broker = open_broker(tmp_path)
        assert [body[:11] for body in broker.bodies(b"t", user)] == wanted
        damaged += broker.dispatcher.counters["dropped.damaged"]
        broker.commit()
        broker.store.close()
    assert damaged
    line = next(each for each in caplog.records if each.message == "a stored message is damaged and set aside")
    assert line.id == f"{STORE_ID}1-{int(marked[-3:]) + 1}"  # type: ignore[attr-defined]
    broker = open_broker(tmp_path)
    for _ in range(5):
        assert broker.publish(b"t", b"more").result.subscribers == 2
        broker.commit()
        broker.store.reclaim()
        assert broker.bodies(b"t", b"u") == broker.bodies(b"t", b"v") == [b"more"]
    broker.store.close()
    again = open_broker(tmp_path)
    assert again.state.topics[b"t"].next_seq == 106
    again.store.close()


def test_every_way_to_read_passes_over_a_damaged_message(tmp_path: Path) -> None:
    stored(tmp_path, small)
    damage_body(tmp_path, b"message 001")
    broker = open_broker(tmp_path)
    users = [b"take", b"after", b"fetch", b"lease", b"leases", b"peek", b"dead"]
    first = broker.after(b"t", b"u").result
    assert first.body == b"message 000"
    assert broker.after(b"t", b"u", f"{first.epoch}-{first.seq}").result.body == b"message 002"
    assert [broker.lease(b"t", b"v").result.seq for _ in range(2)] == [1, 3]
    found = broker.fetch(b"t", b"v", 3, lease=5).result
    assert [(run.first, run.count) for run in found.runs] == [(4, 1), (5, 1), (6, 1)]
    peeked = broker.ask(Op.PEEK, b"t", b"u", ops.Peek(3, 10**6)).result
    assert [each.seq for each in peeked.messages] == [3, 4, 5]
    assert broker.dispatcher.counters["dropped.damaged"] == 1
    assert users
    broker.commit()
    broker.store.close()


def test_a_leased_message_that_is_damaged_after_a_restart_is_not_handed_out_again(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.subscribe(b"t", b"u", max_deliveries=2)
    for number in range(3):
        broker.publish(b"t", b"message %03d" % number)
    for _ in range(3):
        broker.lease(b"t", b"u", 1)
    broker.commit()
    broker.store.close()
    damage_body(tmp_path, b"message 001")
    again = open_broker(tmp_path)
    again.elapse(5)
    assert [again.lease(b"t", b"u", 1).result.body for _ in range(2)] == [b"message 000", b"message 002"]
    again.elapse(5)
    assert len(again.dead(b"t", b"u").result.letters) == 2
    assert again.dispatcher.counters["dropped.damaged"] == 1
    again.commit()
    again.store.close()


def test_a_batch_is_set_aside_as_a_whole(tmp_path: Path) -> None:
    def publish(broker: BrokerDriver) -> None:
        broker.ask(Op.PUBLISH, b"t", args=batch(b"in a batch", b"and another"))
        broker.publish(b"t", b"single")

    stored(tmp_path, publish)
    damage_body(tmp_path, b"and another")
    broker = open_broker(tmp_path)
    assert broker.bodies(b"t", b"u") == [b"single"]
    assert broker.dispatcher.counters["dropped.damaged"] == 2
    broker.store.close()


@pytest.mark.parametrize("kind", ["dead letter", "delayed publish"])
def test_what_is_kept_apart_is_set_aside_when_the_store_is_loaded(tmp_path: Path, kind: str) -> None:
    broker = open_broker(tmp_path)
    broker.subscribe(b"t", b"u", max_deliveries=1)
    for number in range(3):
        if kind == "dead letter":
            broker.publish(b"t", b"message %03d" % number)
            broker.lease(b"t", b"u", 1)
        else:
            broker.publish(b"t", b"message %03d" % number, delay=1000)
    if kind == "dead letter":
        broker.elapse(2)
        broker.ask(Op.DEAD_RETURN, b"t", b"u")
    broker.commit()
    broker.store.close()
    damage_body(tmp_path, b"message 001")
    again = open_broker(tmp_path)
    assert [each.messages for each in again.store.lost] == [1]
    again.elapse(2)
    assert again.bodies(b"t", b"u") == [b"message 000", b"message 002"]
    again.commit()
    again.store.close()


def test_inspect_names_what_is_damaged(tmp_path: Path) -> None:
    stored(tmp_path, small)
    damage_body(tmp_path, b"message 042")
    with inspect(tmp_path / FILE) as inspection:
        assert str(check(inspection)) == f"1 messages cannot be read ({STORE_ID}1-43)"


def test_inspect_refuses_a_store_that_contradicts_itself(tmp_path: Path) -> None:
    stored(tmp_path, small)
    store = SqliteStore(tmp_path, Owner("fanmail", "b0"), STORE_ID, reserve=0)
    store._db.execute("DELETE FROM pieces WHERE id = 50")
    store.close()
    with inspect(tmp_path / FILE) as inspection, pytest.raises(UnusableStoreError, match="message 51 where 50"):
        check(inspection)


def test_a_backup_of_a_damaged_store_is_as_good_as_the_store(tmp_path: Path) -> None:
    stored(tmp_path, small)
    damage_body(tmp_path, b"message 042")
    broker = open_broker(tmp_path)
    path, backup = broker.store.backup("backup-1.db")
    while not backup.step():
        pass
    broker.store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    path.rename(copy / FILE)
    again = open_broker(copy)
    assert len(again.bodies(b"t", b"u")) == 99
    again.commit()
    again.store.close()
