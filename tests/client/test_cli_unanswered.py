"""The `fanmail` command where no server answers, or another one than was meant; and what needs no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanmail.cli import options
from fanmail.cli.main import GROUPS, command
from tests.client.commands import lines, runner
from tests.client.listening import Listening, Quiet

NOWHERE = "http://127.0.0.1:1"
run = runner([NOWHERE], [NOWHERE])
PROBLEM = b'{"code": "no-route", "detail": "no such path"}'


class OtherPort(Quiet):
    """A port of a front that does not have the path."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(PROBLEM)))
        self.end_headers()
        self.wfile.write(PROBLEM)


def test_waiting_for_a_server_is_said_once_and_shorter_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "WITHIN_S", 0.3)
    monkeypatch.setattr(options, "WITHIN_AT_TERMINAL_S", 0.2)
    for at_terminal, seconds in ((False, "0.3"), (True, "0.2")):
        monkeypatch.setattr(options, "is_terminal", lambda at_terminal=at_terminal: at_terminal)
        told = run("publish", "news", "x", code=6).stderr.splitlines()
        assert told == [f"{told[-1]}: retrying for {seconds} s (--within)", told[-1]]
    assert "retrying" not in run("publish", "news", "x", "--within", "0", code=6).stderr


def test_the_other_port_of_a_front_is_recognized() -> None:
    with Listening(OtherPort) as server:
        told = run("topics", ops_url=server.url, code=4).stderr
    assert told.startswith("fanmail: 404 no-route: no such path. Is this the other port of a front?")


def test_a_command_that_cannot_be_run_costs_no_message_an_attempt() -> None:
    told = run("work", "jobs", "crew", "--", "/nonexistent", code=127).stderr
    assert told == "fanmail: '/nonexistent' is not a command that can be run\n"


def test_the_help_lists_every_command_in_a_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(command.commands)
    text = run("--help").stdout
    assert all(f"\n{title}:\n" in text for title in GROUPS)


def test_templates_are_refused_before_anything_is_read() -> None:
    assert "{user.x} is not a field: id, time" in run("read", "news", "ann", "--format", "{user.x}", code=2).stderr
    assert "--format '{'" in run("tail", "news", "ann", "--format", "{", code=2).stderr
    assert "cannot be combined" in run("tail", "news", "ann", "--format", "{id}", "--json", code=2).stderr
    assert "--after is the cursor of one topic" in run("tail", "a", "b", "ann", "--after", "e-1", code=2).stderr


def test_a_profile_gives_options_their_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    key = tmp_path / "key"
    key.write_text("fm_secret\n")
    run("profile", "add", "far", "--url", f"{NOWHERE}7", "--api-key-file", str(key))
    run("profile", "add", "near", "--ops-url", f"{NOWHERE}8")
    assert lines(run("profile", "list", "--json")) == [
        {"name": "far", "used": True, "url": f"{NOWHERE}7", "api_key_file": str(key)},
        {"name": "near", "used": False, "ops_url": f"{NOWHERE}8"},
    ]
    file = tmp_path / "fanmail" / "profiles.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "fm_secret" not in file.read_text()

    def asked(*arguments: str) -> str:
        bare = runner([], [])  # no variables: empty ones do not count
        return (
            bare(*arguments, "--within", "0", code=6).stderr.splitlines()[-1].removeprefix("fanmail: ").split(": ")[0]
        )

    assert asked("pub", "news", "x") == f"{NOWHERE}7"
    assert asked("--profile", "near", "topics") == f"{NOWHERE}8"
    assert asked("pub", "news", "x", "--url", NOWHERE) == NOWHERE, "an option comes first"
    assert f"\nfanmail: {NOWHERE}: " in run("pub", "news", "x", "--within", "0", code=6).stderr, "a variable, too"
    run("profile", "use", "near")
    assert asked("topics") == f"{NOWHERE}8"
    run("profile", "remove", "near")
    assert "no profile 'near'" in run("--profile", "near", "topics", code=2).stderr
    assert "no profile 'near'" in run("profile", "use", "near", code=4).stderr
    file.write_text("{")
    assert "profiles.json: is not a file of profiles" in run("topics", code=2).stderr


def test_the_key_of_a_profile_is_sent_to_its_own_urls_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    key = tmp_path / "key"
    key.write_text("fm_secret\n")
    sent: list[str | None] = []

    class Echo(Quiet):
        def do_GET(self) -> None:
            sent.append(self.headers["Authorization"])
            self.send_response(204)
            self.end_headers()

    def asked(*arguments: str, url: str = "") -> str | None:
        result = runner([], [])("read", "news", "ann", *arguments, code=3, url=url)
        assert ("the key of the profile is not sent to" in result.stderr) == (sent[-1] is None)
        return sent[-1]

    with Listening(Echo) as own, Listening(Echo) as other:
        run("profile", "add", "own", "--url", f"{own.url},{NOWHERE}", "--api-key-file", str(key))
        assert asked() == "Bearer fm_secret"
        assert asked("--url", f"{own.url}/") == "Bearer fm_secret", "one of its URLs"
        assert asked("--url", other.url) is None
        assert asked("--url", f"{other.url},{own.url}") is None
        assert asked("--url", other.url, "--api-key-file", str(key)) == "Bearer fm_secret"
        assert asked(url=other.url) is None, "a variable"
