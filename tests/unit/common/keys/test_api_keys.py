"""The file of API keys: what is read from it, and the one line about what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import StartError
from common.keys.api_keys import TOKEN, digest, read_keys
from tests.support.table import table

HASH = f'hash = "sha256:{digest("fm_a_secret").hex()}"'
KEY = f'[[keys]]\nid = "a"\n{HASH}\n'
WHOLE = f"""
[[keys]]
id = "orders-2026"
subject = "orders"
{HASH}
expires = 2027-01-01T00:00:00+01:00
allow = [{{rights = ["publish"], topic = "orders.*"}}, {{rights = ["consume"], topic = "*", user = "{{sub}}"}}]
deny = [{{rights = ["publish"], topic = "orders.internal"}}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def refusal(path: Path, text: str | None = None) -> str:
    """The one line, without the file that it begins with."""
    if text is not None:
        path.write_text(text)
    with pytest.raises(StartError) as caught:
        read_keys(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_a_key_has_its_members_and_defaults(path: Path) -> None:
    path.write_text(WHOLE + KEY)
    keys = read_keys(path)
    assert list(keys) == ["orders-2026", "a"]
    key = keys["orders-2026"]
    assert (key.subject, key.digest, key.expires) == ("orders", digest("fm_a_secret"), 1798758000000)
    assert (keys["a"].subject, keys["a"].expires, keys["a"].allow) == ("a", None, ())


def test_denying_wins_and_what_nothing_allows_is_not_allowed(path: Path) -> None:
    path.write_text(WHOLE + KEY)
    keys = read_keys(path)
    key = keys["orders-2026"]
    assert key.may("publish", "orders.new")
    assert not key.may("publish", "orders.internal")
    assert not key.may("publish", "news")
    assert key.may("consume", "news", "orders")
    assert not key.may("consume", "news", "alice")
    assert not key.may("consume", "news", "orders-2026")
    assert not key.may("subscribe", "news", "orders")
    assert not key.may("admin")
    assert not any(keys["a"].may(right, "t", "a") for right in ("publish", "subscribe", "consume", "admin", "metrics"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no [[keys]]; bin/keys api makes one"),
        ("keys = []", "has no [[keys]]; bin/keys api makes one"),
        ("keys = 1", "keys must be an array of tables: [[keys]]"),
        ("keys = [1]", "[[keys]] number 1 must be a table"),
        ("[fanmail]\nport = 1", "unknown table 'fanmail'; known is [[keys]]"),
        (f"[[keys]]\n{HASH}", "[[keys]] number 1: id must be 1 to 63 letters, digits and -"),
        (f'{KEY}[[keys]]\nid = "b_c"\n{HASH}', "[[keys]] number 2: id must be 1 to 63 letters, digits and -"),
        (f'[[keys]]\nid = "{"b" * 64}"\n{HASH}', "[[keys]] number 1: id must be 1 to 63 letters, digits and -"),
        (f'[[keys]]\nid = "\u00f8"\n{HASH}', "[[keys]] number 1: id must be 1 to 63 letters, digits and -"),
        (KEY + KEY, 'key "a" is there twice'),
        ('[[keys]]\nid = "a"', 'key "a": hash must be "sha256:" and 64 hexadecimal digits'),
        ('[[keys]]\nid = "a"\nhash = "sha256:abc"', 'key "a": hash must be "sha256:" and 64 hexadecimal digits'),
        (
            f'[[keys]]\nid = "a"\nhash = "{"ab" * 32}"',
            'key "a": hash must be "sha256:" and 64 hexadecimal digits',
        ),
        (KEY + "secret = 1", "key \"a\": unknown member 'secret'; known are id, subject, hash, expires, allow, deny"),
        (KEY + "subject = 1", 'key "a": subject must be a string'),
        (KEY + 'subject = ""', 'key "a": the subject name is empty'),
        (KEY + 'subject = "a\\nb"', 'key "a": the subject name has the control character U+000A'),
        (KEY + f'subject = "{"a" * 1025}"', 'key "a": subject has over 1024 bytes'),
        (
            KEY + "expires = 2027-01-01",
            'key "a": expires must be a time with its zone and without quotes, such as 2027-01-01T00:00:00Z',
        ),
        (
            KEY + "expires = 2027-01-01T00:00:00",
            'key "a": expires must be a time with its zone and without quotes, such as 2027-01-01T00:00:00Z',
        ),
        (KEY + "allow = 1", 'key "a": allow must be a list of rules'),
        (
            KEY + 'allow = [{rights = ["metrics"]}, {rights = ["publish"]}]',
            'key "a": allow rule 2 needs topic, a pattern of names ("*": any)',
        ),
        (
            KEY + 'deny = [{rights = ["publish"], user = "*"}]',
            'key "a": deny rule 1 user does not apply to publish: use a separate rule for it',
        ),
    ],
)
def test_what_cannot_be_used_is_named(path: Path, text: str, said: str) -> None:
    assert refusal(path, text) == said


def test_no_file_no_toml_and_no_text_are_named(path: Path) -> None:
    assert refusal(path) == "No such file or directory"
    assert refusal(path, "[[keys").startswith("not TOML: ")
    path.write_bytes(b'[[keys]]\nid = "\xff"')
    assert refusal(path).startswith("not TOML: ")
    assert refusal(path.parent) == "Is a directory"


def test_a_file_that_everybody_may_write_to_is_refused(path: Path) -> None:
    path.write_text(KEY)
    path.chmod(0o666)
    assert refusal(path) == "is writable by other users (chmod 600)"
    path.chmod(0o644)
    assert list(read_keys(path)) == ["a"]


def test_an_error_never_repeats_what_could_be_a_token(path: Path) -> None:
    assert "fm_a_" not in refusal(path, '[[keys]]\nid = "a"\nhash = "fm_a_secret"')


@table(
    ("text", "good"),
    [
        (f"fm_a-1_{'s' * 43}", True),
        (f"fm_a_{'_-' * 30}", True),
        (f"fm_a_{'s' * 42}", False),
        (f"fm_a_{'s' * 129}", False),
        (f"fm__{'s' * 43}", False),
        (f"fm_{'a' * 64}_{'s' * 43}", False),
        (f"fm_a_{'s' * 43}\n", False),
        (f"fm_a_{'s' * 42}\u00f8", False),
        (f"FM_a_{'s' * 43}", False),
    ],
)
def test_a_token_has_an_id_and_a_long_secret(text: str, good: bool) -> None:
    assert bool(TOKEN(text)) == good
