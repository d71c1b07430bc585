"""`bin/keys api`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.keys.api_keys import TOKEN, digest, parse_keys, read_keys
from tests.support.table import table

ROOT = Path(__file__).resolve().parents[4]


def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "common.tools.keys", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def refusal(*arguments: str) -> str:
    done = keys(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_the_token_goes_to_standard_output_and_what_the_file_needs_to_standard_error() -> None:
    rules = ["--allow", "publish topic=orders.*", "--allow", "subscribe,consume topic='a b' user={sub}"]
    done = keys("api", "a-1", "--subject", "a", "--expires", "2999-01-01", *rules, "--deny", "publish topic=orders.x")
    assert done.returncode == 0, done.stderr
    (token,) = done.stdout.splitlines()
    found = TOKEN(token)
    assert found
    assert found[1] == "a-1"
    assert len(found[2]) == 43, "256 bits"
    assert token not in done.stderr
    assert found[2] not in done.stderr
    key = parse_keys(tomllib.loads(done.stderr))["a-1"]
    assert (key.subject, key.digest, key.expires) == ("a", digest(token), 32472144000000)
    assert key.may("publish", "orders.new")
    assert not key.may("publish", "orders.x")
    assert key.may("consume", "a b", "a")
    assert not key.may("consume", "a", "a")


def test_no_two_keys_are_alike() -> None:
    assert len({keys("api", "a").stdout for _ in range(3)}) == 3


def test_a_file_is_made_for_its_owner_only_and_grows(path: Path) -> None:
    first = keys("api", "a", "--allow", "admin", "--file", str(path))
    assert first.returncode == 0, first.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("# mine\n" + path.read_text())
    path.chmod(0o640)
    second = keys("api", "b", "--file", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text().startswith("# mine\n")
    found = read_keys(path)
    assert [found[name].digest for name in ("a", "b")] == [digest(each.stdout.strip()) for each in (first, second)]
    assert "fm_" not in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


HASH = f"sha256:{7:064}"
TABLES = f"""\
# who may do what
[[keys]]
hash = "{HASH}"   # before the id
id = 'first'
allow = [
    {{topic = "*", rights = ["publish"]}},  # everything
    # {{rights = ["admin"]}},
]
# the end"""
INLINE = f"""\
keys = [  # in one list
    {{hash = "{HASH}", id = "first"}},
    # the end
]
"""


@pytest.mark.parametrize("before", [TABLES, INLINE, "# nothing yet\n"])
def test_comments_and_order_of_what_is_in_the_file_are_kept(path: Path, before: str) -> None:
    path.write_text(before)
    assert keys("api", "second", "--subject", 'a"\\b', "--deny", "admin", "--file", str(path)).returncode == 0
    text = path.read_text()
    ends = before.rstrip().removesuffix("]")
    assert text.startswith(ends), "what is added comes behind it"
    found = read_keys(path)
    assert list(found) == (["second"] if before.startswith("# nothing") else ["first", "second"])
    assert found["second"].subject == 'a"\\b'


def test_a_link_is_followed_and_stays(path: Path) -> None:
    link = path.with_name("link.toml")
    link.symlink_to(path)
    assert keys("api", "a", "--file", str(link)).returncode == 0
    assert link.is_symlink()
    assert list(read_keys(path)) == ["a"]


def test_several_at_a_time_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda n: keys("api", f"k{n}", "--file", str(path)).returncode, range(6)))
    assert codes == [0] * 6
    assert set(read_keys(path)) == {f"k{n}" for n in range(6)}


def test_what_is_refused_leaves_the_file_as_it_is(path: Path) -> None:
    keys("api", "a", "--file", str(path))
    before = path.read_text()
    assert refusal("api", "a", "--file", str(path)) == f'keys: {path}: key "a" is there twice'
    assert "needs topic" in refusal("api", "b", "--allow", "publish", "--file", str(path))
    assert path.read_text() == before
    path.write_text("[[keys")
    assert f"{path}: " in refusal("api", "b", "--file", str(path))
    assert path.read_text() == "[[keys"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@table(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["api"], "required: ID"),
        (["api", "a_b"], "id must be 1 to 63 letters"),
        (["api", "a", "--allow", "fly topic=*"], "unknown value 'fly'"),
        (["api", "a", "--allow", "publish orders.*"], "is not a rule such as"),
        (["api", "a", "--allow", ""], "is not a rule such as"),
        (["api", "a", "--allow", "publish topic='a"], "is not a rule such as"),
        (["api", "a", "--allow", "publish topic=a topic=b"], "names a pattern twice"),
        (["api", "a", "--allow", "publish topic=a users=b"], "unknown member 'users'"),
        (["api", "a", "--deny", "publish user=b"], "user does not apply to publish"),
        (["api", "a", "--expires", "soon"], "is not a date"),
        (["api", "a", "--expires", "2020-01-01"], "has passed"),
        (["api", "a", "--subject", ".."], "the subject name is '..'"),
        (["api", "a", "--file", "/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
        (["api", "a", "--file", "/tmp"], "/tmp: Is a directory"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str) -> None:
    assert said in refusal(*arguments)
