"""`pip install ./client` in an empty environment yields a working command, and installs nothing of the server.

What is installed has types that type checkers know.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from common.version import VERSION
from tests.e2e.cluster import ROOT, clean_environ
from tests.support.bare_venv import make_venv
from tests.support.deployed import missing

pytestmark = pytest.mark.slow

UNREACHABLE = ("Could not find a version", "No matching distribution", "Temporary failure", "Connection")


@pytest.mark.timeout(300)
def test_it_installs_and_runs(tmp_path: Path) -> None:
    before = sorted(path for path in (ROOT / "client").rglob("*") if "__pycache__" not in path.parts)
    environ = {name: value for name, value in clean_environ().items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, env=environ)
    scripts = tmp_path / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    argv = [*pip, "install", "--quiet", "--no-input", "--no-compile", ROOT / "client"]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode and any(each in done.stderr for each in UNREACHABLE) and not os.environ.get("CI"):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr

    def run(*words: str) -> str:
        return subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "Publish to and read from Fanmail" in run(str(scripts / "fanmail"), "--help")
    assert run(str(scripts / "fanmail"), "--version") == f"fanmail {VERSION}\n"
    (licence,) = (tmp_path / "venv").glob("lib/*/site-packages/fanmail-*.dist-info/licenses/LICENSE")
    assert licence.read_text() == (ROOT / "LICENSE").read_text()
    where = run(str(scripts / "python"), "-c", "import fanmail; print(fanmail.__file__)").strip()
    assert (Path(where).parent / "py.typed").exists()
    installed = run(*pip, "list", "--format=freeze")
    assert not {"falcon", "waitress", "pyzmq"} & {line.partition("==")[0] for line in installed.splitlines()}
    after = sorted(path for path in (ROOT / "client").rglob("*") if "__pycache__" not in path.parts)
    assert after == before, "the build leaves nothing behind"


def test_every_public_type_is_known_to_type_checkers(tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    if not (scripts / "pyright").exists():
        missing("pyright")
    make_venv(tmp_path / "venv", [])  # pyright looks only at what is installed
    (packages,) = (tmp_path / "venv").glob("lib/*/site-packages")
    shutil.copytree(ROOT / "client" / "src" / "fanmail", packages / "fanmail")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    environ = clean_environ() | {"PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    argv = [str(scripts / "pyright"), "--verifytypes", "fanmail", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["typeCompleteness"]
    unknown = {each["name"]: each["diagnostics"] for each in found["symbols"] if each["diagnostics"]}
    assert not unknown
    assert found["completenessScore"] == 1
    assert found["exportedSymbolCounts"]["withKnownType"] > 900
