"""The table of slots of a description: what it says, what is wrong with it, how it is written, and what would move."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cluster.description import load_cluster, parse_cluster
from common.cluster.description_edit import write_slots
from common.cluster.replacement import why_refused
from common.cluster.slot_plan import (
    PlannedMove,
    describe_plan,
    owners_of,
    plan_moves,
    plan_slots,
    spread,
    wanted_brokers,
)
from common.cluster.slot_table import format_slots, parse_slots
from common.cluster.slots import SLOTS, SlotOwner, rendezvous
from common.errors import StartError
from tests.support.table import table

ALL = "0-1023"
BROKERS = [{"id": f"b{n}", "endpoint": f"ipc:///run/b{n}.sock"} for n in range(3)]


def described(slots: object, **cluster: Any) -> dict[str, Any]:
    return {"cluster": {"slots": slots, **cluster}, "brokers": BROKERS}


@given(st.dictionaries(st.integers(0, SLOTS - 1), st.integers(1, 3)))
def test_slots_are_read_as_they_were_written(slots: dict[int, int]) -> None:
    assert parse_slots(format_slots(slots)) == slots


def test_a_text_of_slots_is_short() -> None:
    assert format_slots({0: 1, 1: 1, 2: 1, 7: 2, 8: 2, 9: 1}) == "0-2 7-8@2 9"
    assert parse_slots("0-2, 7@2") == {0: 1, 1: 1, 2: 1, 7: 2}


def test_a_description_names_the_owner_and_the_epoch_of_every_slot() -> None:
    cluster = parse_cluster(described({"b0": "0-511 1000@7", "b2": "512-999 1001-1023"}))
    assert cluster.explicit
    assert cluster.table[1000] == SlotOwner("b0", 7)
    assert (cluster.owners[0], cluster.owners[512], cluster.owners.count("b1")) == ("b0", "b2", 0)


def test_without_a_table_a_description_only_guesses() -> None:
    cluster = parse_cluster({"brokers": BROKERS})
    assert not cluster.explicit
    assert {owner.epoch for owner in cluster.table} == {0}


@table(
    ("slots", "reason"),
    [
        ({"b0": "0-1000 1001-1022"}, "no broker has slots 1023"),
        ({"b0": "0-511", "b1": "513-1022"}, "no broker has slots 512 1023"),
        ({"b0": ALL, "b1": "7"}, "slot 7 is there twice, for b0 and b1"),
        ({"b0": "0-1023 7@2"}, "b0: slot 7 is there twice"),
        ({"b0": "0-1024"}, "'0-1024' is not a slot below 1024"),
        ({"b0": "9-3"}, "'9-3' is not a slot below 1024"),
        ({"b0": "7@0"}, "'7@0' is not a slot below 1024, or first-last, with @epoch from 1"),
        ({"b0": "7@99999999999999999999"}, "is not a slot below 1024"),
        ({"b0": "x"}, "'x' is not a slot below 1024"),
        ({"b9": ALL}, "b9 must be the id of a broker"),
        ({"b0": 7}, "b0 must be the id of a broker, with a text"),
        ("0-1023", "cluster.slots must be a table"),
    ],
)
def test_a_table_that_leaves_a_doubt_is_refused(slots: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", "\\(")):
        parse_cluster(described(slots))


def test_pins_and_a_table_are_not_given_together() -> None:
    with pytest.raises(ValueError, match=r"without cluster\.pins"):
        parse_cluster(described({"b0": ALL}, pins={"7": "b1"}))


# --- another description for a running process


OLD = parse_cluster(described({"b0": "0-511", "b1": "512-1023"}, epoch=5))


@table(
    ("newer", "orphaned", "reason"),
    [
        (described({"b0": ALL}, epoch=6), {}, ""),
        (described({"b0": "0-511", "b1": "512-1023"}, epoch=5), {}, ""),
        (described({"b0": "0-511", "b1": "512-1023"}, epoch=4), {}, "its epoch 4 is older than 5, which is in use"),
        (described({"b0": ALL}, epoch=5), {}, "it differs from the one in use, and its epoch is 5 too"),
        (described({"b0": ALL}, epoch=6, name="other"), {}, "it is of cluster 'other'"),
        (described({"b0": ALL}, epoch=6), {"b7": 12}, "it leaves out broker b7, which owns 12 slots"),
    ],
)
def test_a_description_that_could_orphan_topics_does_not_replace_another(
    newer: dict[str, Any], orphaned: dict[str, int], reason: str
) -> None:
    said = why_refused(OLD, parse_cluster(newer), orphaned)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


# --- writing it


TEXT = """# of our cluster
[fanmail]
log_level = "debug"  # for a while

[cluster]
name = "mail"
epoch = 7
[cluster.pins]
3 = "b1"

[[brokers]]
id = "b0"
endpoint = "ipc:///run/b0.sock"

[[brokers]]
id = "b1"
endpoint = "ipc:///run/b1.sock"
"""


def test_the_owners_are_written_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(TEXT)
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    owners = [SlotOwner("b0", 1)] * 1000 + [SlotOwner("b1", 2)] * 24
    assert write_slots(link, owners, ["b0", "b1"]) == 8
    cluster = load_cluster(link)
    assert (cluster.name, cluster.epoch, cluster.table) == ("mail", 8, tuple(owners))
    text = path.read_text()
    assert "# of our cluster" in text
    assert 'log_level = "debug"  # for a while' in text
    assert "pins" not in tomllib.loads(text)["cluster"]
    assert (oct(path.stat().st_mode & 0o777), sorted(os.listdir(tmp_path))) == ("0o640", ["cluster.toml", "link.toml"])
    assert link.is_symlink()
    assert write_slots(path, owners, ["b0", "b1"]) == 9


def test_a_description_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cluster\.toml: No such file"):
        write_slots(tmp_path / "cluster.toml", [], [])
    (tmp_path / "cluster.toml").write_text("[cluster")
    with pytest.raises(StartError, match=r"cluster\.toml: "):
        write_slots(tmp_path / "cluster.toml", [], [])


# --- plans


IDS = ["b0", "b1", "b2", "b3"]
FOUR = [rendezvous(slot, IDS) for slot in range(SLOTS)]


def test_a_broker_that_is_added_gets_its_share_and_nothing_else_moves() -> None:
    wanted = wanted_brokers(FOUR, [*IDS, "b4", "b5"], add=["b4"])
    assert wanted == [*IDS, "b4"]
    moves = plan_moves(FOUR, wanted)
    assert {move.to for move in moves} == {"b4"}
    assert 150 < len(moves) < 260
    assert {move.source for move in moves[:4]} == set(IDS)


def test_a_broker_that_is_drained_has_nothing_left() -> None:
    moves = plan_moves(FOUR, wanted_brokers(FOUR, IDS, drain=["b2"]))
    assert {move.slot for move in moves} == {slot for slot, owner in enumerate(FOUR) if owner == "b2"}
    assert {move.to for move in moves} == {"b0", "b1", "b3"}


def test_without_a_choice_all_brokers_of_the_description_share() -> None:
    assert wanted_brokers(FOUR, [*IDS, "b4"]) == [*IDS, "b4"]
    assert plan_moves(FOUR, IDS) == []


def test_slots_without_an_owner_stay_out_of_the_plan() -> None:
    assert plan_moves(["", *FOUR[1:]], IDS) == []
    assert plan_slots(["", "b1", "b0"], [0, 1, 1, 2], "b0") == [PlannedMove(1, "b1", "b0")]


@table(
    ("add", "drain", "reason"),
    [
        (["b9"], [], "broker b9 is not in the cluster description"),
        ([], ["b9"], "broker b9 is not in the cluster description"),
        (["b1"], ["b1"], "broker b1 cannot be added and drained"),
        ([], IDS, "no broker would be left"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(add: list[str], drain: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wanted_brokers(FOUR, IDS, add, drain)


def test_of_two_brokers_that_claim_a_slot_the_greater_epoch_is_right() -> None:
    owners, epochs = owners_of([("b0", [(0, 9, 2)]), ("b1", [(5, 12, 3), (20, 20, 1)])])
    assert (owners[4], owners[5], owners[12], owners[20], owners[21]) == ("b0", "b1", "b1", "b1", "")
    assert (epochs[4], epochs[5], epochs[21]) == (2, 3, 0)


def test_a_plan_is_shown_by_pairs_of_brokers() -> None:
    moves = [PlannedMove(1, "b0", "b2"), PlannedMove(2, "b0", "b2"), PlannedMove(9, "b1", "b2")]
    sizes = {1: (1, 2, 30, 400), 9: (9, 1, 1, 1), 500: (500, 7, 7, 7)}
    assert describe_plan(moves, sizes) == [
        {"from": "b0", "to": "b2", "slots": "1-2", "count": 2, "topics": 2, "messages": 30, "bytes": 400},
        {"from": "b1", "to": "b2", "slots": "9", "count": 1, "topics": 1, "messages": 1, "bytes": 1},
    ]


def test_the_slots_of_a_lost_broker_are_spread() -> None:
    shares = spread(range(100), ["b0", "b1"])
    assert sorted(slot for slots in shares.values() for slot in slots) == list(range(100))
    assert min(map(len, shares.values())) > 30
