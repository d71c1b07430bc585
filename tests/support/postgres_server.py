"""A PostgreSQL server of its own for tests: Debian's, in a temporary directory, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.e2e.cluster import free_ports

WANTED = "FANMAIL_TEST_POSTGRES"
"""These tests run where it is 1: not everybody has PostgreSQL."""


def need_postgres() -> Path:
    """Return where the programs are, or skip the test."""
    if os.environ.get(WANTED) != "1":
        pytest.skip(f"runs with {WANTED}=1")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL here: apt install postgresql")
    return found[-1].parent


class PostgresServer:
    """One server on loopback, synchronous only with its own disk."""

    def __init__(self) -> None:
        self._programs = need_postgres()
        self._folder = Path(tempfile.mkdtemp(prefix="fanmail-pg-"))
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:  # which PostgreSQL refuses
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self.port = free_ports(1)
        self._call("initdb", "-D", str(self._data), "-U", "fanmail", "-A", "trust", "-N", "-E", "UTF8")
        self.start()
        self.url = f"postgresql://fanmail@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder}"
        self._call("pg_ctl", "-D", str(self._data), "-w", "-o", options, "-l", f"{self._folder}/log", "start")

    def crash(self) -> None:
        """Stop it as a crash does: nothing is written any more."""
        self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def close(self) -> None:
        """Stop it, and remove what it has."""
        self.crash()
        shutil.rmtree(self._folder)

    def _call(self, program: str, *arguments: str) -> None:
        user = self._user if os.getuid() == 0 else None
        subprocess.run(
            [str(self._programs / program), *arguments],
            user=user,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
