"""What a store owns that does not say so yet: no description makes two owners of a slot."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from broker.dispatch.founding import Founding, described, new_share, recorded_share
from broker.dispatch.links import Question
from broker.dispatch.residue import end_residue, find_residue
from broker.ownership import digest_of
from broker.slot_records import KEPT, Owns, SlotLeft, StoreProven, bitmap_of
from common.cluster.slots import SLOTS, BrokerAddress, ClusterMap, rendezvous, slot_of
from common.protocol.move_ops import DropSlots, SlotPointer, SlotRun, SlotTable
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver
from tests.support.mirror import MirrorStore


def cluster_of(*ids: str) -> ClusterMap:
    return ClusterMap("fanmail", 1, [BrokerAddress(each, f"ipc:///{each}") for each in ids])


def table(
    broker: str, cluster: ClusterMap, slots: set[int], status: str = "serving", left: tuple[SlotPointer, ...] = ()
) -> SlotTable:
    runs = [SlotRun(slot, slot, 1) for slot in sorted(slots)]
    return SlotTable(broker, status, 1, digest_of(cluster), 1, runs, list(left), [])


TWO, THREE = cluster_of("b0", "b1"), cluster_of("b0", "b1", "b2")


def test_all_brokers_of_a_new_cluster_share_all_slots() -> None:
    shares = [
        new_share(each, THREE, [table(other, THREE, set(), "founding") for other in {"b0", "b1", "b2"} - {each}])
        for each in ("b0", "b1", "b2")
    ]
    assert [described(each, THREE) for each in ("b0", "b1", "b2")] == shares
    assert sum(map(len, filter(None, shares))) == SLOTS


def test_the_last_one_of_a_new_cluster_takes_its_share_beside_those_that_serve() -> None:
    others = [table(each, THREE, described(each, THREE)) for each in ("b0", "b1")]
    assert new_share("b2", THREE, others) == described("b2", THREE)


def test_a_broker_that_is_added_owns_nothing() -> None:
    others = [table(each, THREE, described(each, TWO)) for each in ("b0", "b1")]
    assert new_share("b2", THREE, others) == set()


def test_a_description_that_leaves_out_a_broker_gives_a_new_one_nothing() -> None:
    """What b1 has is named by nobody, and the map gives parts of it to b0 and to b2."""
    wrong = cluster_of("b0", "b2")
    assert new_share("b2", wrong, [table("b0", wrong, described("b0", TWO))]) == set()


def test_another_map_is_waited_for() -> None:
    assert new_share("b2", THREE, [table("b0", TWO, set(), "founding"), table("b1", THREE, set(), "founding")]) is None


def test_a_lost_disk_gets_what_nobody_else_has_or_had() -> None:
    mine = sorted(described("b2", THREE))
    others = [
        table("b0", THREE, described("b0", THREE) | {mine[0]}),
        table("b1", THREE, described("b1", THREE), left=(SlotPointer(mine[1], "b2", 4),)),
    ]
    assert new_share("b2", THREE, others) == set(mine[2:])


def test_an_older_store_has_what_its_topics_were_spread_over() -> None:
    topics = [name for name in (b"topic %d" % n for n in range(200)) if TWO.owner(name) == "b0"]
    assert recorded_share("b0", "b0,b1", topics, TWO) == described("b0", TWO)
    before = {slot for slot in range(SLOTS) if rendezvous(slot, ["b0", "b1"]) == "b0"}
    assert recorded_share("b0", "b0,b1", topics, THREE) == before
    assert recorded_share("b0", "b0,b1", [], THREE) == described("b0", THREE), "as until now, where it is empty"


class AllAnswer:
    """Implements `Links`; the brokers in `tables` answer."""

    def __init__(self, tables: dict[str, SlotTable]) -> None:
        self.tables = tables
        self.broker = ""

    up = answers = True

    def to(self, broker: str) -> Any:
        found = AllAnswer(self.tables)
        found.broker = broker
        return found if broker in self.tables else None

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        return Question(True, self.tables[self.broker])


@pytest.fixture
def restored() -> BrokerDriver:
    """It owned slots 1 to 3 at epoch 2 when its copy was made."""
    store = MirrorStore("0badcafe")
    store.begin([Owns(bitmap_of([1, 2, 3]), 2), StoreProven(False)])
    return BrokerDriver(store=store)


def test_a_restored_store_gives_up_what_is_elsewhere_by_now_and_keeps_what_it_has(restored: BrokerDriver) -> None:
    topic = next(name for name in (b"topic %d" % n for n in range(9999)) if slot_of(name) == 2)
    restored.subscribe(topic, b"u")
    newer = SlotTable("b1", "serving", 1, digest_of(TWO), 1, [SlotRun(2, 2, 3), SlotRun(3, 3, 1)], [], [])
    links = AllAnswer({})
    founding = Founding("b0", restored.dispatcher.context, links)
    founding.begin(TWO, restored.clock.now())
    assert founding.status == "unproven"
    links.tables["b1"] = newer
    for _ in range(3):
        restored.clock.advance(1)
        founding.turn(TWO, restored.clock.now())
    assert founding.status == "serving"
    restored.commit()
    restored.restart()
    slots = restored.state.slots
    assert (dict(slots.epochs), slots.unproven) == ({1: 2, 3: 2}, False)
    assert (slots.left[2].to, slots.left[2].epoch, slots.left[2].move) == ("b1", 3, 0)
    assert topic in restored.state.topics
    answer = restored.take(topic, b"u")
    assert (answer.code, dict(answer.fields)) == ("not-owner", {"slot": 2, "owner": "b1", "slot_epoch": 3})


def test_what_a_restored_store_has_kept_ends_at_the_word_of_the_operator(restored: BrokerDriver) -> None:
    kept, own = (next(n for n in (b"t%d" % n for n in range(9999)) if slot_of(n) == slot) for slot in (2, 1))
    for topic in (kept, own):
        restored.subscribe(topic, b"u")
    restored.dispatcher.context.emit(SlotLeft(2, "b1", KEPT, 3))
    restored.commit()
    for slots in ([1], [2, 3]):
        answer = restored.ask(Op.SLOTS_DROP, args=DropSlots(slots))
        assert (answer.code, answer.detail) == (
            "move-refused",
            f"slot {slots[-1]} is none that a restored store has kept",
        )
    assert restored.ask(Op.SLOTS_DROP, args=DropSlots([2, 2])).code == ""
    restored.commit()
    restored.restart()
    context = restored.dispatcher.context
    find_residue(context)
    end_residue(context, 100)
    restored.commit()
    assert list(restored.state.topics) == [own]
    assert (restored.state.slots.left[2].to, restored.state.slots.left[2].epoch) == ("b1", 3)


def test_a_store_in_memory_asks_nobody() -> None:
    broker = BrokerDriver()
    founding = Founding("b0", broker.dispatcher.context, AllAnswer({}))
    founding.begin(THREE, broker.clock.now())
    assert founding.status == "memory"
    assert not broker.state.slots.known
