"""The version and the licence are the same wherever they are shown."""

from __future__ import annotations

import json
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
from common.version import VERSION
from tests.e2e.cluster import ROOT, Client, Front, clean_environ

LAUNCHERS = [*sorted(f"bin/{each.name}" for each in (ROOT / "bin").glob("[!_]*")), "bench/run"]
NAMES = {each: each.removeprefix("bin/") for each in LAUNCHERS}
"""Launcher -> what it calls itself."""
LICENCE = "Apache-2.0"


def printed(*argv: str, **environ: str) -> str:
    done = subprocess.run(
        argv, env=clean_environ() | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return found


def test_launchers_show_it_in_a_fresh_checkout_and_set_nothing_up(tmp_path: Path) -> None:
    for path in ("bin", "bench", "common"):
        shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__", "out"))
    before = sorted(tmp_path.rglob("*"))
    shown = {each: printed(str(tmp_path / each), "--version") for each in LAUNCHERS}
    assert shown == {each: f"{name} (Fanmail) {VERSION}\n" for each, name in NAMES.items()}
    assert sorted(tmp_path.rglob("*")) == before


def test_programs_show_it_too_and_list_it_in_their_help() -> None:
    programs = {"python -m broker": ("broker", "broker"), "python -m httpfront": ("httpfront", "front")}
    for launcher, name in NAMES.items():
        (module,) = re.findall(r"(?m)^exec .* -m (\S+)", (ROOT / launcher).read_text())
        programs[launcher] = (module, name)
    del programs["bin/test"]  # its options are those of pytest
    for program, (module, name) in programs.items():
        argv = [sys.executable, "-m", module]
        assert printed(*argv, "--version", PYTHONPATH=str(ROOT)) == f"{name} (Fanmail) {VERSION}\n", program
        assert re.search(r"(?m)^ +--version +\S", printed(*argv, "--help", PYTHONPATH=str(ROOT))), program


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
    newest = next(index for index, each in enumerate(headings) if each != "Unreleased")
    found = re.fullmatch(r"(\S+) \((\S+)\)", headings[newest])
    assert found, headings
    assert found[1] == VERSION
    assert date.fromisoformat(found[2])
    assert headings[newest + 1] == "Upgrading"


@pytest.mark.parametrize("path", ["pyproject.toml", "client/pyproject.toml"])
def test_packages_name_the_licence_and_carry_it(path: str) -> None:
    described = project(path)
    assert described["license"] == LICENCE
    for name in described["license-files"]:
        text = (ROOT / path).with_name(name).read_text()
        assert text == (ROOT / "LICENSE").read_text()
        assert "Apache License\n" in text
        assert "Copyright 2026 the Fanmail authors" in text
