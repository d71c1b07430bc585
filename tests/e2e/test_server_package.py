"""The wheel `fanmail-server` in an environment of its own: no checkout, no name of the application in site-packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from common.version import VERSION
from fanmail_server.__main__ import COMMANDS
from tests.e2e.cluster import ROOT, Client, Process, clean_environ, free_ports, wait_for
from tests.support.bare_venv import make_venv, pinned
from tests.unit.test_deploy import NEEDED_BY_THEM

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_depends_on_what_the_server_needs_in_the_releases_that_are_tested() -> None:
    lines = (ROOT / "requirements-server.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    accepted = {each.name: each.specifier for each in map(Requirement, PROJECT["dependencies"])}
    assert set(tested) - set(accepted) == NEEDED_BY_THEM, "which only they need"
    assert [name for name, each in accepted.items() if f">={tested[name]}" not in str(each)] == []
    assert PROJECT["optional-dependencies"] == {"client": [f"fanmail=={VERSION}"]}


def test_every_program_of_bin_is_a_command() -> None:
    launchers = {each.name: each.read_text() for each in (ROOT / "bin").glob("[!_]*") if each.is_file()}
    modules = {name: re.findall(r"(?m)^exec .* -m (\S+)", text)[0] for name, text in launchers.items()}
    ours = {name.removeprefix("start-"): module for name, module in modules.items() if name not in ("test", "soak")}
    assert ours | {"broker": "broker", "front": "httpfront"} == {name: each.module for name, each in COMMANDS.items()}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of an environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    environ = {name: value for name, value in clean_environ().items() if not name.startswith("PYTHON")}
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-index", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, env=environ, check=True, timeout=60)
    make_venv(folder / "venv", pinned("requirements-server.txt"))
    (wheel,) = folder.glob("*.whl")
    there = [*pip, "--python", str(folder / "venv" / "bin" / "python")]
    subprocess.run([*there, "install", "--no-index", "--no-deps", str(wheel)], env=environ, check=True, timeout=60)
    subprocess.run([*there, "check"], env=environ, check=True, timeout=60)
    return folder / "venv" / "bin"


@pytest.fixture
def quickstart(scripts: Path, tmp_path: Path) -> Iterator[tuple[Process, int]]:
    """The quickstart of the package, which is ready, and its port."""
    port = free_ports(2)
    argv = ["env", "-u", "PYTHONPATH", "-u", "PYTHONSAFEPATH", str(scripts / "fanmail-server"), "quickstart"]
    argv += ["--brokers=1", "--fronts=1", f"--port={port}", f"--ops-port={port + 1}", f"--run-dir={tmp_path / 'run'}"]
    (tmp_path / "common.py").write_text("raise SystemExit('imported from the working directory')\n")
    process = Process("quickstart", argv, tmp_path / "log", cwd=tmp_path)
    yield process, port
    process.kill()


@pytest.mark.slow
def test_the_quickstart_of_the_package_serves_the_first_message(scripts: Path, quickstart: tuple[Process, int]) -> None:
    process, port = quickstart
    wait_for(lambda: "Fanmail is ready" in process.log() or not process.running, "the tour")
    client = Client(port)
    wait_for(lambda: client.call("GET", "/readyz?strict=1").status == 200, "the broker to be reached")
    client.subscribe("news", "alice")
    client.publish("news", b"hello, world")
    assert client.take("news", "alice").body == b"hello, world"
    assert process.terminate() == 0
    installed = {each.name for each in scripts.parent.glob("lib/*/site-packages/*")}
    assert not installed & {"common", "broker", "httpfront", "tests", "bench", "fanmail"}


@pytest.mark.slow
def test_its_commands_are_those_of_its_help(scripts: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([scripts / "fanmail-server", *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("--version") == (0, f"fanmail-server (Fanmail) {VERSION}\n", "")
    assert run("quickstrat")[::2] == (2, "fanmail-server: unknown command 'quickstrat': did you mean quickstart?\n")
    assert run()[:2] == run("--help")[:2] == (0, run("-h")[1])
    assert VERSION in run("fronts", "--version")[1]
