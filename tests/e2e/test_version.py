"""The version and the licence are the same wherever they are shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import fanmail
from common.command_line import WIDTH
from common.tools.help_texts import SUBCOMMANDS, help_texts
from common.version import VERSION
from tests.e2e.cluster import ROOT, Client, Front, clean_environ

LAUNCHERS = [*sorted(f"bin/{each.name}" for each in (ROOT / "bin").glob("[!_]*")), "bench/run"]
NAMES = {each: each.removeprefix("bin/") for each in LAUNCHERS}
"""The name that each launcher prints."""
LICENCE = "Apache-2.0"
CALL = """
import importlib.util, sys
flag, *modules = sys.argv[1:]
for name in modules:
    sys.argv = [name, flag]
    package = importlib.util.find_spec(name).submodule_search_locations
    try:
        importlib.import_module(f"{name}.__main__" if package else name).main()
    except SystemExit as end:
        assert not end.code, name
"""
"""A program that calls the `main` of modules, one after another, with one flag."""


def printed(*argv: str, **environ: str) -> str:
    done = subprocess.run(
        argv, env=clean_environ() | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return found


def test_launchers_show_it_and_their_help_in_a_fresh_checkout_and_set_nothing_up(tmp_path: Path) -> None:
    for path in ("bin", "bench", "common"):
        shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__", "out"))
    before = sorted(tmp_path.rglob("*"))
    shown = {each: printed(str(tmp_path / each), "--version") for each in LAUNCHERS}
    assert shown == {each: f"{name} (Fanmail) {VERSION}\n" for each, name in NAMES.items()}
    for each in set(LAUNCHERS) - {"bench/run"}:
        assert printed(str(tmp_path / each), "7", "-h").startswith(f"usage: {each} ")
    assert printed(str(tmp_path / "bin" / "keys"), "api", "--help").startswith("usage: bin/keys api ")
    assert sorted(tmp_path.rglob("*")) == before


def test_programs_show_it_too() -> None:
    named = {name: re.findall(r"(?m)^exec .* -m (\S+)", (ROOT / path).read_text()) for path, name in NAMES.items()}
    assert named.pop("test") == ["pytest"], "its options are those of pytest"
    assert named.pop("bench/run") == ["bench"], "it needs packages that the checks do not install"
    named |= {"broker": ["broker"], "front": ["httpfront"]}
    modules = [module for (module,) in named.values()]
    shown = printed(sys.executable, "-c", CALL, "--version", *modules, PYTHONPATH=f"{ROOT}:{ROOT}/client/src")
    assert shown == "".join(f"{name} (Fanmail) {VERSION}\n" for name in named)


def test_the_help_of_launchers_is_that_of_their_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FANMAIL_")]:
        monkeypatch.delenv(name)
    shown = {path.stem: path.read_text() for path in (ROOT / "bin" / "_help").iterdir()}
    assert shown.pop("test")
    assert help_texts() == shown, "python -m common.tools.help_texts writes them again"
    for name, text in shown.items():
        launcher = next((each for each in SUBCOMMANDS if name.startswith(each)), "")
        assert text.startswith(f"usage: bin/{name.replace('-', ' ', 1) if launcher else name} ")
        assert re.search(r"(?m)^ +--version +\S", text)
        assert re.search(r"\nexamples?:\n( +bin/.*\n)+$", text)
        assert max(map(len, text.splitlines())) <= WIDTH + 20, "examples may be longer"


def test_a_front_shows_it(front: Front) -> None:
    ops = Client(front.ops_port)
    assert json.loads(front.web.call("GET", "/").body)["version"] == VERSION
    assert json.loads(front.web.call("GET", "/openapi.json").body)["info"]["version"] == VERSION
    assert json.loads(ops.call("GET", "/-/v1/config").body)["version"] == VERSION
    metrics, dashboard = (ops.call("GET", path).body.decode() for path in ("/metrics", "/"))
    ops.close()
    assert re.findall(r'(?m)^fanmail_build_info\{.*\bversion="([^"]*)".*\} 1\.0$', metrics) == [VERSION]
    assert re.findall(r'<span [^>]*id="version">([^<]*)<', dashboard) == [VERSION]


def test_the_client_has_the_same() -> None:
    assert fanmail.__version__ == VERSION
    shown = printed(sys.executable, "-m", "fanmail", "--version", PYTHONPATH=str(ROOT / "client" / "src"))
    assert shown == f"fanmail {VERSION}\n"


def test_the_package_of_the_server_has_the_same() -> None:
    assert project("pyproject.toml")["version"] == VERSION


def test_the_changelog_begins_with_upgrading_to_it() -> None:
    headings = re.findall(r"(?m)^#{2,3} (.*)$", (ROOT / "CHANGELOG.md").read_text())
    releases = [each for each in headings if re.fullmatch(r"(\S+) \((\S+)\)|Unreleased", each)]
    assert all(headings[headings.index(each) + 1] == "Upgrading" for each in releases)
    version, day = next(each for each in releases if each != "Unreleased").split()
    assert version == VERSION
    assert date.fromisoformat(day.strip("()"))


@pytest.mark.parametrize("path", ["pyproject.toml", "client/pyproject.toml"])
def test_packages_name_the_licence_and_carry_it(path: str) -> None:
    described = project(path)
    assert described["license"] == LICENCE
    for name in described["license-files"]:
        text = (ROOT / path).with_name(name).read_text()
        assert text == (ROOT / "LICENSE").read_text()
        assert "Apache License\n" in text
        assert "Copyright 2026 the Fanmail authors" in text
