"""What the tests need of npm: packages that are installed once, and the JavaScript client as its users get it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.documents import ROOT

CLIENT = ROOT / "client-js"
PACKED = ROOT / "out" / "client-js"
"""The package as a tar file, and beside it `node_modules` in which it is installed."""
_SOURCES = ("src/**/*.ts", "package*.json", "tsconfig.json", "README.md", "LICENSE")


def run(*argv: str, cwd: Path, environ: dict[str, str] | None = None, seconds: float = 110) -> str:
    """Return what a program prints. Raises AssertionError with all of it if the program fails."""
    command = [shutil.which(argv[0]) or argv[0], *argv[1:]]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, cwd=cwd, env=environ, text=True, timeout=seconds, check=False, **streams)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def once(stamp: Path, sources: Iterable[Path], make: Callable[[], object]) -> None:
    """Call `make` unless it was called for sources of the same content. Processes wait for each other."""
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    with stamp.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if file.read() == content:
            return
        make()
        file.truncate(0)
        file.write(content)


def node_modules() -> Path:
    """Return the folder with what `tests/js/package.json` names."""
    folder = ROOT / "tests" / "js"
    argv = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent")
    once(ROOT / "out" / "tests-js.stamp", [folder / "package.json"], lambda: run(*argv, cwd=folder))
    return folder / "node_modules"


def node_18() -> str:
    """Return the path of the oldest Node.js that the client supports."""
    (found,) = node_modules().glob("node-linux-*/bin/node")
    return str(found)


def packed_client() -> Path:
    """Build and pack the JavaScript client. Return `PACKED`."""
    sources = sorted(path for pattern in _SOURCES for path in CLIENT.glob(pattern))
    once(ROOT / "out" / "client-js.stamp", sources, _pack)
    return PACKED


def _pack() -> None:
    """`tsc`, which `npm pack` runs, checks types and what a linter would: see tsconfig.json."""
    shutil.rmtree(PACKED, ignore_errors=True)
    installed = PACKED / "node_modules" / "fanmail"
    installed.parent.mkdir(parents=True)
    run("npm", "ci", "--no-audit", "--no-fund", "--silent", cwd=CLIENT)
    run("npm", "pack", "--silent", f"--pack-destination={PACKED}", cwd=CLIENT)
    (archive,) = PACKED.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(PACKED / "unpacked", filter="data")
    (PACKED / "unpacked" / "package").rename(installed)
