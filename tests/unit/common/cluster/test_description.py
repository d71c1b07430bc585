"""Topic -> slot -> broker: never changed by accident, and what a description must say."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common.cluster.description import MAX_IPC_PATH, DescriptionFile, describe_local, load_cluster, parse_cluster
from common.cluster.slots import SLOTS, BrokerAddress, ClusterMap, rendezvous, slot_of
from common.errors import StartError
from tests.support.table import table

BROKERS = [{"id": f"b{n}", "endpoint": f"ipc:///run/b{n}.sock"} for n in range(5)]
TOPICS = [b"topic %d" % number for number in range(20_000)]


def cluster(brokers: int, **pins: str) -> ClusterMap:
    table = {"cluster": {"pins": {slot.removeprefix("s"): owner for slot, owner in pins.items()}}}
    return parse_cluster(table | {"brokers": BROKERS[:brokers]})


# --- the mapping


@table(
    ("topic", "slot"),
    [
        (b"news", 977),
        (b"a", 559),
        (b"b", 885),
        (b"", 692),
        (b"a/b", 928),
        (b"caf\xc3\xa9", 995),
        (b"x" * 255, 386),
        (b"metrics", 106),
        (b"-", 151),
        (b"orders.eu.7", 608),
    ],
)
def test_a_topic_has_the_same_slot_for_ever(topic: bytes, slot: int) -> None:
    assert slot_of(topic) == slot


def test_a_slot_has_the_same_broker_for_ever() -> None:
    ids = ["b0", "b1", "b2", "b3"]
    assert "".join(rendezvous(slot, ids)[1] for slot in range(64)) == (
        "1220232301323003202131211333112201110232302032330202330322201311"
    )


def test_slots_and_brokers_are_evenly_filled() -> None:
    slots = Counter(slot_of(topic) for topic in TOPICS)
    assert len(slots) == SLOTS
    owners = Counter(cluster(4).owners)
    assert all(200 < owners[f"b{n}"] < 320 for n in range(4)), owners


def test_the_order_of_the_brokers_in_the_description_does_not_matter() -> None:
    turned = parse_cluster({"brokers": BROKERS[3::-1]})
    assert turned.owners == cluster(4).owners


def test_a_fifth_broker_takes_a_fifth_and_nothing_else_moves() -> None:
    before, after = cluster(4), cluster(5)
    moved = [topic for topic in TOPICS if before.owner(topic) != after.owner(topic)]
    assert {after.owner(topic) for topic in moved} == {"b4"}
    assert 0.15 < len(moved) / len(TOPICS) < 0.25


def test_a_broker_that_leaves_gives_away_its_own_slots_only() -> None:
    before, after = cluster(5), cluster(4)
    for slot in range(SLOTS):
        assert (before.owners[slot] == "b4") == (before.owners[slot] != after.owners[slot])


def test_pins_hold_and_leave_the_other_slots_alone() -> None:
    plain, pinned = cluster(4), cluster(4, s0="b3", s1023="b0", s007="b2")
    assert (pinned.owners[0], pinned.owners[1023], pinned.owners[7]) == ("b3", "b0", "b2")
    for slot in set(range(SLOTS)) - {0, 7, 1023}:
        assert pinned.owners[slot] == plain.owners[slot]
    topic = next(topic for topic in TOPICS if slot_of(topic) == 7)
    assert pinned.owner(topic) == "b2"


def test_an_endpoint_is_found_by_its_broker() -> None:
    assert cluster(2).endpoint("b1") == "ipc:///run/b1.sock"
    with pytest.raises(StartError, match="'b2' is not in the cluster description"):
        cluster(2).endpoint("b2")


# --- descriptions


def test_what_a_description_leaves_out_has_a_default() -> None:
    described = parse_cluster({"brokers": BROKERS[:1]})
    assert (described.name, described.epoch) == ("fanmail", 1)
    assert described.brokers == (BrokerAddress("b0", "ipc:///run/b0.sock"),)


def test_the_description_of_a_host_describes_it(tmp_path: Path) -> None:
    described = parse_cluster(tomllib.loads(describe_local(3, "/run/fanmail", epoch=9)))
    assert (described.name, described.epoch) == ("fanmail", 9)
    assert described.brokers == tuple(BrokerAddress(f"b{n}", f"ipc:///run/fanmail/b{n}.sock") for n in range(3))


def broken(**changed: Any) -> dict[str, Any]:
    """A good description of one broker with something changed in it."""
    row = {"id": "b0", "endpoint": "ipc:///run/fanmail/b0.sock"}
    table: dict[str, Any] = {"cluster": {}, "brokers": [row]}
    for key, value in changed.items():
        if key in ("id", "endpoint"):
            row[key] = value
        elif key == "brokers":
            table["brokers"] = value
        else:
            table["cluster"][key] = value
    return table


LONG_PATH = "/" + "x" * MAX_IPC_PATH


@table(
    ("changed", "message"),
    [
        ({"brokers": []}, "there is no [[brokers]] table"),
        ({"brokers": [{}]}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": ""}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": 7}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": "x" * 64}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": "-b"}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": "b0\n"}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"id": "../b0"}, "a broker's id must be 1 to 63 letters, digits, '-' or '_'"),
        ({"endpoint": None}, "broker 'b0' has no endpoint"),
        ({"endpoint": 7000}, "broker 'b0' has no endpoint"),
        ({"brokers": [BROKERS[0], BROKERS[0] | {"endpoint": "ipc:///x"}]}, "two brokers have the same id"),
        ({"brokers": [BROKERS[0], BROKERS[0] | {"id": "x"}]}, "two brokers have the same endpoint"),
        ({"endpoint": ""}, "endpoint '' is neither ipc:///path nor tcp://host:port"),
        (
            {"endpoint": "ipc://relative"},
            "endpoint 'ipc://relative' is neither ipc:///path nor tcp://host:port",
        ),
        ({"endpoint": "inproc://x"}, "endpoint 'inproc://x' is neither ipc:///path nor tcp://host:port"),
        ({"endpoint": "tcp://*:7000"}, "endpoint 'tcp://*:7000' is neither ipc:///path nor tcp://host:port"),
        (
            {"endpoint": "tcp://127.0.0.1"},
            "endpoint 'tcp://127.0.0.1' is neither ipc:///path nor tcp://host:port",
        ),
        ({"endpoint": "tcp://::1:70"}, "endpoint 'tcp://::1:70' is neither ipc:///path nor tcp://host:port"),
        (
            {"endpoint": "tcp://localhost:0"},
            "endpoint 'tcp://localhost:0' is neither ipc:///path nor tcp://host:port",
        ),
        (
            {"endpoint": "tcp://localhost:65536"},
            "endpoint 'tcp://localhost:65536' is neither ipc:///path nor tcp://host:port",
        ),
        (
            {"endpoint": "tcp://10.0.0.1:7000"},
            "endpoint 'tcp://10.0.0.1:7000' is TCP without a key: make one (bin/keys curve), "
            "or allow plain TCP with --insecure",
        ),
        (
            {"endpoint": "tcp://127.0.0.1:7000"},
            "endpoint 'tcp://127.0.0.1:7000' is TCP without a key: make one (bin/keys curve), "
            "or allow plain TCP with --insecure",
        ),
        (
            {"endpoint": f"ipc://{LONG_PATH}"},
            f"the socket path {LONG_PATH} has over 107 bytes: use a shorter --run-dir",
        ),
        ({"name": ""}, "cluster.name must be 1 to 63 letters, digits, '-' or '_'"),
        ({"name": 3}, "cluster.name must be 1 to 63 letters, digits, '-' or '_'"),
        ({"epoch": 0}, "cluster.epoch must be a whole number from 1"),
        ({"epoch": True}, "cluster.epoch must be a whole number from 1"),
        ({"epoch": 1.0}, "cluster.epoch must be a whole number from 1"),
        ({"epoch": 2**62}, "cluster.epoch must be a whole number from 1"),
        ({"pins": {"1024": "b0"}}, "cluster.pins: 1024 = 'b0' is not a slot below 1024 and a broker's id"),
        ({"pins": {"-1": "b0"}}, "cluster.pins: -1 = 'b0' is not a slot below 1024 and a broker's id"),
        ({"pins": {"x": "b0"}}, "cluster.pins: x = 'b0' is not a slot below 1024 and a broker's id"),
        ({"pins": {"1": "b9"}}, "cluster.pins: 1 = 'b9' is not a slot below 1024 and a broker's id"),
        ({"pins": {"1": 0}}, "cluster.pins: 1 = 0 is not a slot below 1024 and a broker's id"),
    ],
)
def test_a_description_that_cannot_be_used_says_why(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_cluster(broken(**changed))


@pytest.mark.parametrize(
    "text",
    ["brokers = 3", 'brokers = ["b0"]', '[brokers]\nid = "b0"\nendpoint = "ipc:///x"', "cluster = 3", "pins"],
)
def test_a_description_of_another_shape_says_why(text: str, tmp_path: Path) -> None:
    one = '[[brokers]]\nid = "b0"\nendpoint = "ipc:///x"\n'
    file = tmp_path / "cluster.toml"
    texts = {"cluster = 3": f"cluster = 3\n{one}", "pins": f"[cluster]\npins = 3\n{one}"}
    file.write_text(texts.get(text, text))
    with pytest.raises(StartError, match=r"cluster\.toml"):
        load_cluster(file)


@table("endpoint", ["tcp://127.8.8.8:65535", "tcp://localhost:7000", "tcp://[::1]:7000"])
def test_loopback_is_open_to_all_users_of_the_host(endpoint: str) -> None:
    with pytest.raises(ValueError, match="TCP without a key"):
        parse_cluster(broken(endpoint=endpoint))


def test_plain_tcp_can_be_allowed() -> None:
    for endpoint in ("tcp://127.0.0.1:1", "tcp://10.0.0.1:7000", "tcp://broker.example:7000", "tcp://[fe80::1]:7000"):
        assert parse_cluster(broken(endpoint=endpoint), insecure=True).endpoint("b0") == endpoint


PAIR = [{"host": host, "endpoint": f"ipc:///run/{host}/b0.sock"} for host in ("h1", "h2.example")]
REPLICATED = {"id": "b0", "candidates": PAIR}


def test_a_broker_may_have_two_candidates_on_different_hosts() -> None:
    other = {"id": "b1", "candidates": [{"host": h, "endpoint": f"ipc:///run/{h}/b1.sock"} for h in ("h1", "h2")]}
    described = parse_cluster({"brokers": [REPLICATED, other]})
    assert [each.id for each in described.brokers] == ["b0", "b1"]
    assert described.candidates("b0") == tuple(BrokerAddress("b0", each["endpoint"], "", each["host"]) for each in PAIR)
    assert [each.name for each in described.addresses] == ["b0@h1", "b0@h2.example", "b1@h1", "b1@h2"]
    assert described.endpoint("b1", "h2") == "ipc:///run/h2/b1.sock"
    assert described.owners == parse_cluster({"brokers": BROKERS[:2]}).owners
    for host, text in (("", "None"), ("h3", "'h3'")):
        message = f"--candidate {text} must be one of the candidates of broker 'b0': h1, h2.example"
        with pytest.raises(StartError, match=message):
            described.address("b0", host)
    with pytest.raises(StartError, match="broker 'b0' has no candidates in the description"):
        parse_cluster({"brokers": BROKERS[:1]}).address("b0", "h1")


@table(
    ("row", "message"),
    [
        (REPLICATED | {"candidates": PAIR[:1]}, "broker 'b0' must have 2 candidates, on different hosts"),
        (REPLICATED | {"candidates": [*PAIR, PAIR[0]]}, "broker 'b0' must have 2 candidates, on different hosts"),
        (REPLICATED | {"candidates": [PAIR[0]] * 2}, "broker 'b0' must have 2 candidates, on different hosts"),
        (REPLICATED | {"candidates": []}, "broker 'b0' must have 2 candidates, on different hosts"),
        (
            REPLICATED | {"candidates": 2},
            "broker 'b0': candidates must be tables: [{host = ..., endpoint = ...}, ...]",
        ),
        (REPLICATED | {"endpoint": "ipc:///x"}, "broker 'b0': endpoint and key belong to each of its candidates"),
        (
            REPLICATED | {"candidates": [PAIR[0], PAIR[1] | {"host": "../x"}]},
            "broker 'b0': a host must be 1 to 63 letters, digits, '.', '-' or '_'",
        ),
        (
            REPLICATED | {"candidates": [PAIR[0], {"host": "h2"}]},
            "candidate 'h2' of broker 'b0' has no endpoint",
        ),
        (
            REPLICATED | {"candidates": [PAIR[0], PAIR[0] | {"host": "h2"}]},
            "two brokers have the same endpoint",
        ),
    ],
)
def test_candidates_that_cannot_be_used_say_why(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_cluster({"brokers": [row]})


def test_brokers_with_and_without_candidates_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"^either every broker has candidates, or none$"):
        parse_cluster({"brokers": [REPLICATED, BROKERS[1]]})


KEYS = [f"{n}" * 40 for n in range(1, 6)]
"""Z85 of some bytes; no pairs."""
KEYED = {"id": "b0", "endpoint": "tcp://10.0.0.1:7000", "key": KEYS[0]}
WEB = {"name": "web1", "key": KEYS[1]}


def test_keys_stand_in_the_map() -> None:
    loopback = {"id": "b1", "endpoint": "tcp://127.0.0.1:7000", "key": KEYS[2]}
    described = parse_cluster({"brokers": [KEYED, loopback], "fronts": [WEB, {"name": "web2", "key": KEYS[3]}]})
    assert described.brokers == tuple(
        BrokerAddress(row["id"], row["endpoint"], row["key"]) for row in (KEYED, loopback)
    )
    assert described.fronts == {"web1": KEYS[1], "web2": KEYS[3]}
    assert described.address("b1").key == KEYS[2]


@table(
    ("brokers", "fronts", "message"),
    [
        ([KEYED], [], "broker 'b0' has a key, but there is no [[fronts]] table: no front could connect"),
        ([KEYED], {"name": "web1"}, "fronts must be tables: [[fronts]]"),
        ([KEYED], [{"key": KEYS[1]}], "a front's name must be 1 to 63 letters, digits, '-' or '_'"),
        ([KEYED], [WEB | {"name": "../a"}], "a front's name must be 1 to 63 letters, digits, '-' or '_'"),
        ([KEYED], [WEB, WEB | {"key": KEYS[2]}], "two fronts have the name 'web1'"),
        ([KEYED], [WEB, WEB | {"name": "web2"}], "two brokers or fronts have the same key"),
        ([KEYED], [WEB | {"key": KEYS[0]}], "two brokers or fronts have the same key"),
        (
            [KEYED, KEYED | {"id": "b1", "endpoint": "tcp://10.0.0.2:7000"}],
            [WEB],
            "two brokers or fronts have the same key",
        ),
        (
            [KEYED | {"endpoint": "ipc:///run/b0.sock"}],
            [WEB],
            "endpoint 'ipc:///run/b0.sock' is private by its directory and cannot have a key: leave it out",
        ),
        (
            [KEYED | {"id": "front"}],
            [WEB],
            "a broker with a key cannot be called 'front': front.key is the key of fronts and tools",
        ),
        (
            [KEYED, {"id": "b1", "endpoint": "tcp://10.0.0.2:7000"}],
            [WEB],
            "endpoint 'tcp://10.0.0.2:7000' is TCP without a key: make one (bin/keys curve), "
            "or allow plain TCP with --insecure",
        ),
    ],
)
def test_keys_that_cannot_be_used_say_why(brokers: Any, fronts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_cluster({"brokers": brokers, "fronts": fronts})


@table("key", ["", None, 7, "1" * 39, "1" * 41, "1" * 39 + " ", "1" * 39 + '"', "#" * 40, "\u00e9" * 40])
def test_a_key_that_is_none(key: Any) -> None:
    """Also of forty right characters of which five are over 32 bits."""
    for tables in (
        {"brokers": [KEYED | {"key": key}], "fronts": [WEB]},
        {"brokers": [KEYED], "fronts": [{**WEB, "key": key}]},
    ):
        with pytest.raises(ValueError, match="key must be a public key in Z85, 40 characters"):
            parse_cluster(tables)


def test_the_longest_socket_path_is_taken() -> None:
    path = "/" + "x" * (MAX_IPC_PATH - 1)
    assert parse_cluster(broken(endpoint=f"ipc://{path}")).endpoint("b0") == f"ipc://{path}"
    with pytest.raises(ValueError, match="has over 107 bytes"):
        parse_cluster(broken(endpoint="ipc:///" + "\u00e9" * 54))


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    with pytest.raises(StartError, match=r"cluster\.toml: No such file"):
        load_cluster(file)
    file.write_text("[[brokers]")
    with pytest.raises(StartError, match=r"cluster\.toml: not TOML: "):
        load_cluster(file)
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(StartError, match=r"cluster\.toml: not TOML: "):
        load_cluster(file)
    file.write_text("")
    with pytest.raises(StartError, match=r"cluster\.toml: there is no \[\[brokers\]\] table"):
        load_cluster(file)


# --- a description that is looked at again and again


def replace(path: Path, text: str) -> None:
    """As an operator should: a new file put in the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_map_is_given_when_the_file_appears_and_whenever_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    file = DescriptionFile(path)
    assert file.newer() is None
    replace(path, describe_local(1, "/run"))
    first = file.newer()
    assert first is not None
    assert first.epoch == 1
    assert file.newer() is None
    replace(path, describe_local(1, "/run", epoch=2))
    second = file.newer()
    assert second is not None
    assert second.epoch == 2
    assert file.newer() is None
    path.unlink()
    assert file.newer() is None


def test_a_change_within_the_same_file_is_seen_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(describe_local(1, "/run", epoch=1))
    file = DescriptionFile(path)
    file.newer()
    path.write_text(describe_local(1, "/run", epoch=2))
    os.utime(path, ns=(1, 1))
    changed = file.newer()
    assert changed is not None
    assert changed.epoch == 2


def test_an_unusable_file_is_complained_of_once(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    file = DescriptionFile(path)
    replace(path, "nonsense")
    with pytest.raises(StartError, match="not TOML"):
        file.newer()
    assert file.newer() is None
    replace(path, describe_local(2, "/run"))
    mended = file.newer()
    assert mended is not None
    assert len(mended.brokers) == 2


def test_a_looked_at_file_needs_the_same_permission(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[[brokers]]\nid = "x"\nendpoint = "tcp://10.0.0.1:1"\n')
    with pytest.raises(StartError, match="--insecure"):
        DescriptionFile(path).newer()
    assert DescriptionFile(path, insecure=True).newer() is not None
