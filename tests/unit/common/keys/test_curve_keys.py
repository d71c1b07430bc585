"""Keys of CURVE: files that are refused, pairs that belong to a description, and `bin/keys curve`."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from common.cluster.description import is_key
from common.cluster.slots import BrokerAddress, ClusterMap
from common.command_line import Parser
from common.errors import StartError
from common.keys.curve import KeyPair, broker_pair, check_front, front_pair, new_pair, read_pair
from common.tools import new_curve_keys

PAIR = new_pair()
ENDPOINT = "tcp://10.0.0.1:7100"


def keys(*arguments: str) -> int:
    parser = Parser("", name="keys")
    new_curve_keys.add_command(parser.add_subparsers())
    parsed = parser.parse_args(["curve", *arguments])
    return int(parsed.run(parsed))


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def secret_of(pair: KeyPair) -> str:
    return f'secret_key = "{pair.secret.decode()}"\n'


def address(key: str = PAIR.public.decode()) -> BrokerAddress:
    return BrokerAddress("b0", ENDPOINT, key)


# --- files


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_file_for_the_owner_and_a_group_is_read(tmp_path: Path, mode: int) -> None:
    assert read_pair(write(tmp_path / "b0.key", secret_of(PAIR), mode)) == PAIR


def test_each_candidate_has_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "b0@h1.key", secret_of(PAIR))
    assert broker_pair(str(tmp_path), address()._replace(host="h1")) == PAIR
    with pytest.raises(StartError, match=r"b0@h2\.key: No such file"):
        broker_pair(str(tmp_path), address()._replace(host="h2"))


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o601, 0o660, 0o620, 0o777])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StartError, match=r"b0\.key: is accessible to other users"):
        read_pair(write(tmp_path / "b0.key", secret_of(PAIR), mode))


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "data", secret_of(PAIR), 0o440)
    (tmp_path / "b0.key").symlink_to("data")
    assert read_pair(tmp_path / "b0.key") == PAIR


@pytest.mark.parametrize(
    "text",
    [
        "",
        PAIR.secret.decode(),
        f'key = "{PAIR.public.decode()}"\n',
        'secret_key = "too short"\n',
        f'secret_key = "{PAIR.secret.decode()}x"\n',
        'secret_key = "#####################################%%%"\n',
        "secret_key = 1\n",
        "\x00" * 100_000,
        "secret_key = \u00e9",
    ],
    ids=range(9),  # the keys are new in every process
)
def test_what_is_not_a_secret_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartError, match=r"b0\.key: is not a file with a secret key") as caught:
        read_pair(write(tmp_path / "b0.key", text))
    assert PAIR.secret.decode() not in str(caught.value)


def test_what_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"b0\.key: No such file"):
        read_pair(tmp_path / "b0.key")
    os.mkfifo(tmp_path / "fifo.key", 0o600)
    (tmp_path / "folder.key").mkdir(0o700)
    for name in ("fifo", "folder"):
        with pytest.raises(StartError, match=rf"{name}\.key"):
            read_pair(tmp_path / f"{name}.key")


def test_a_pair_does_not_show_its_secret() -> None:
    assert PAIR.secret.decode() not in f"{PAIR} {PAIR!r} {[PAIR]}"


# --- whose


def test_a_broker_without_a_key_needs_no_folder() -> None:
    assert broker_pair("", address(key="")) is None


def test_a_broker_reads_its_own_key(tmp_path: Path) -> None:
    write(tmp_path / "b0.key", secret_of(PAIR))
    assert broker_pair(str(tmp_path), address()) == PAIR


def test_a_broker_with_a_key_needs_a_folder() -> None:
    with pytest.raises(StartError, match=r"broker 'b0' has a key: --curve-dir must name the folder with b0\.key"):
        broker_pair("", address())


def test_a_secret_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    other = new_pair()
    write(tmp_path / "b0.key", secret_of(other))
    with pytest.raises(StartError, match="does not belong to the key of broker 'b0'") as caught:
        broker_pair(str(tmp_path), address())
    assert other.public.decode() in str(caught.value)
    assert other.secret.decode() not in str(caught.value)
    write(tmp_path / "b0.key", f'secret_key = "{PAIR.public.decode()}"\n')  # the public one by mistake
    with pytest.raises(StartError, match="does not belong"):
        broker_pair(str(tmp_path), address())


def test_a_front_must_be_listed_where_brokers_have_keys(tmp_path: Path) -> None:
    assert front_pair("") is None
    write(tmp_path / "front.key", secret_of(PAIR))
    pair, broker = front_pair(str(tmp_path)), address(key=new_pair().public.decode())
    check_front(None, ClusterMap("fanmail", 1, [address(key="")]))
    check_front(pair, ClusterMap("fanmail", 1, [broker], fronts={"web1": PAIR.public.decode()}))
    others = ClusterMap("fanmail", 1, [broker], fronts={"web2": new_pair().public.decode()})
    with pytest.raises(StartError, match=r"of front\.key is not in a \[\[fronts\]\] table"):
        check_front(pair, others)
    with pytest.raises(StartError, match=r"broker 'b0' has a key: --curve-dir must name a folder with front\.key"):
        check_front(None, others)


# --- bin/keys curve


def test_keys_are_made_and_their_tables_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    assert keys(str(folder), "b0", "b1", "front", "--front", "web1", "--front", "web2") == 0
    tables = tomllib.loads(capsys.readouterr().out)
    assert [row["id"] for row in tables["brokers"]] == ["b0", "b1"]
    assert [row["name"] for row in tables["fronts"]] == ["front", "web1", "web2"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for row in (*tables["brokers"], *tables["fronts"]):
        path = folder / f"{row.get('id') or row['name']}.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_pair(path).public.decode() == row["key"]
        assert row["key"] not in path.read_text(), "the two cannot be taken for each other"


def test_candidates_have_keys_of_their_own_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(str(tmp_path), "b0@h1", "b1@h2", "b0@h2.example", "front") == 0
    first, second = tomllib.loads(capsys.readouterr().out)["brokers"]
    assert (first["id"], [each["host"] for each in first["candidates"]]) == ("b0", ["h1", "h2.example"])
    assert (second["id"], [each["host"] for each in second["candidates"]]) == ("b1", ["h2"])
    for each in first["candidates"]:
        assert read_pair(tmp_path / f"b0@{each['host']}.key").public.decode() == each["key"]


def test_nothing_secret_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys(str(tmp_path), "b0")
    assert read_pair(tmp_path / "b0.key").secret.decode() not in "".join(capsys.readouterr())


def test_a_key_is_never_replaced_and_then_none_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys(str(tmp_path), "b1")
    before, public = (tmp_path / "b1.key").read_text(), read_pair(tmp_path / "b1.key").public.decode()
    with pytest.raises(StartError, match="exists and is not replaced") as caught:
        keys(str(tmp_path), "b0", "b1")
    assert public in str(caught.value)
    assert (tmp_path / "b1.key").read_text() == before
    assert not (tmp_path / "b0.key").exists()


def test_not_even_over_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "b0.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match=r"b0\.key: File exists"):
        keys(str(tmp_path), "b0")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the names of brokers or fronts"),
        (["../b0"], "is not a name"),
        ([""], "is not a name"),
        (["--front", "a b"], "is not a name"),
        (["b0@"], "is not a name"),
        (["b0@../h1"], "is not a name"),
        (["--front", "web@h1"], "is not a name"),
        (["b0", "b0"], "given twice"),
        (["b0", "--front", "b0"], "given twice"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(StartError, match=message):
        keys(str(tmp_path), *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"file: File exists"):
        keys(str(tmp_path / "file"), "b0")


def test_every_key_that_is_made_is_one() -> None:
    for _ in range(200):
        assert all(is_key(half.decode()) for half in new_pair())
