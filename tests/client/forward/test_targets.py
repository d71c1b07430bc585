"""Targets, the file of many, secrets: what is accepted, and the one line that says what is wrong."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from fanmail.forward.config_file import read_targets
from fanmail.forward.process import check_descriptors
from fanmail.forward.secret_file import read_secrets
from fanmail.forward.target import Target, make_target
from tests.client.commands import runner
from tests.support.table import table

GOOD = {"topic": "events", "user": "shop", "url": "https://shop.example/hooks?x=1"}
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
run = runner(["http://127.0.0.1:1"], ["http://127.0.0.1:1"])


def secret_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "secrets"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user": ""}, "user is missing"),
    "a name that is none": ({"topic": ".."}, "'..' is not a legal name"),
    "no url": ({"url": ""}, "url is missing"),
    "a path": ({"url": "/hooks"}, "that begins with http:// or https://"),
    "another scheme": ({"url": "file:///etc/passwd"}, "that begins with http:// or https://"),
    "a port": ({"url": "http://x:99999/"}, "is not a URL"),
    "credentials": ({"url": "https://ann:pw@shop.example/"}, "a user name or password cannot be in it"),
    "blanks": ({"url": "https://shop.example/a b"}, "must be percent-encoded"),
    "an unknown option": ({"retries": 3}, "'retries' is not an option"),
    "a number as a text": ({"concurrency": "3"}, "concurrency: '3' is not a whole number"),
    "true as a number": ({"batch": True}, "batch: True is not a whole number"),
    "too many": ({"concurrency": 1001}, "concurrency: 1001 is not from 1 to 1000"),
    "too long": ({"lease": 50_000}, "lease: 50000 is not from 1 to 43200"),
    "order at once": ({"ordered": True, "concurrency": 2}, "concurrency cannot be above 1"),
}


@table("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    changed, text = WRONG[case]
    with pytest.raises(ValueError, match=text.replace("(", r"\(")) as raised:
        make_target(GOOD | changed)
    assert "pw@" not in str(raised.value)


def test_a_file_has_targets_with_shared_options_and_their_own(tmp_path: Path) -> None:
    path = tmp_path / "forwards.toml"
    secrets = secret_file(tmp_path, SECRET)
    path.write_text(
        f'[forward]\nsecrets_file = "{secrets}"\ntimeout = 5\n'
        '[[targets]]\ntopic = "a"\nuser = "x"\nurl = "http://x.example/"\ntimeout = 7.5\n'
        '[[targets]]\ntopic = "a/b"\nuser = "y"\nurl = "http://y.example/"\nordered = true\n'
    )
    first, second = read_targets(str(path), {"timeout": 3.0, "delay": 2.0})
    assert (first.timeout, second.timeout, first.delay, second.ordered) == (7.5, 5, 2.0, True)
    assert first.secrets == second.secrets == (b"0123456789abcdef01234567",)


TABLE = '[[targets]]\ntopic = "a"\nuser = "x"\nurl = "http://x/"\n'
WRONG_FILES = {
    "no targets": ("", r"it has 0 \[\[targets\]\]"),
    "not TOML": ("[", "forwards.toml: "),
    "another table": (TABLE + "[target]\n", "'target' is not a table of this file"),
    "an unknown shared option": (TABLE + "[forward]\nurl = 'http://x/'\n", "'url' is not an option"),
    "a target twice": (TABLE + TABLE, r"\[\[targets\]\] 2: there is another target for 'x' of 'a'"),
    "a wrong target": (TABLE.replace("http", "ftp"), r"\[\[targets\]\] 1: url: "),
}


@table("case", WRONG_FILES)
def test_what_is_wrong_in_a_file_is_one_line_and_exit_code_2(case: str, tmp_path: Path) -> None:
    text, problem = WRONG_FILES[case]
    path = tmp_path / "forwards.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_targets(str(path), {})
    assert "forwards.toml: " in run("forward", "--config", str(path), code=2).stderr


WRONG_SECRETS = {
    "nothing": ("# none\n\n", 0o600, "has 0 secrets"),
    "too many": (f"{SECRET}\n" * 11, 0o600, "has 11 secrets"),
    "no prefix": (SECRET.removeprefix("whsec_"), 0o600, "line 1 is not a secret"),
    "too short": (SECRET + "\nwhsec_QUJD\n", 0o600, "line 2 is not a secret"),
    "not base64": ("whsec_" + "!" * 32, 0o600, "line 1 is not a secret"),
    "for everybody": (SECRET, 0o644, "can be read by everybody"),
    "another file": ("x" * 5000, 0o600, "more than 4096 bytes"),
}


@table("case", WRONG_SECRETS)
def test_what_is_wrong_with_secrets_is_said_without_them(case: str, tmp_path: Path) -> None:
    text, mode, problem = WRONG_SECRETS[case]
    path = secret_file(tmp_path, text, mode)
    done = run("forward", "a", "b", "http://x/", "--secrets-file", path, code=2)
    assert problem in done.stderr
    assert SECRET[8:20] not in done.stderr
    with pytest.raises(ValueError, match=problem):
        read_secrets(path)


def test_the_command_wants_a_target_or_a_file(tmp_path: Path) -> None:
    assert "give TOPIC, USER and URL, or --config" in run("forward", "a", "b", code=2).stderr
    assert "either TOPIC, USER and URL, or --config" in run("forward", "a", "--config", "x", code=2).stderr
    assert "No such file" in run("forward", "--config", str(tmp_path / "none"), code=2).stderr


def test_more_connections_than_the_process_may_open_are_refused_at_the_start() -> None:
    check_descriptors([Target("a", "b", "http://x/", concurrency=1)] * 10)
    with pytest.raises(ValueError, match=r"may need 2,001,0\d\d,064 open files|may need [\d,]+ open files"):
        check_descriptors([Target("a", "b", "http://x/", concurrency=1000)] * 1_000_000)
