"""The `fanmail` command in this process, as a process, and as a process at a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable

from click.testing import CliRunner, Result

from fanmail.cli.main import command
from tests.e2e.cluster import ROOT, clean_environ

Run = Callable[..., Result]


def runner(urls: list[str], ops_urls: list[str]) -> Run:
    """Return a function that runs the command in this process: `run("read", topic, "ann", code=3)`.

    `stdin` and the expected exit `code` are passed by name.
    """

    def run(*arguments: str, stdin: str | bytes = "", code: int = 0, url: str = "", ops_url: str = "") -> Result:
        environ = {"FANMAIL_URL": url or ",".join(urls), "FANMAIL_OPS_URL": ops_url or ",".join(ops_urls)}
        result = CliRunner().invoke(command, list(arguments), input=stdin, env=environ, prog_name="fanmail")
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
        return result

    return run


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _environ(url: str) -> dict[str, str]:
    client = str(ROOT / "client" / "src")
    return clean_environ() | {"FANMAIL_URL": url, "FANMAIL_OPS_URL": url, "PYTHONPATH": client, "TERM": "xterm"}


def start(url: str, *arguments: str, stdin: int | None = None, **environ: str) -> subprocess.Popen[str]:
    """Start the command as a process. `url` is the URL of the port that it uses."""
    argv = [sys.executable, "-m", "fanmail", *arguments]
    out = subprocess.PIPE
    return subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=out, text=True, env=_environ(url) | environ)


class AtTerminal:
    """The command as a process on its own terminal of 100 columns and 30 lines."""

    def __init__(self, url: str, *arguments: str) -> None:
        self._terminal, other = pty.openpty()
        self.seen = ""
        environ = _environ(url) | {"COLUMNS": "100", "LINES": "30"}
        argv = [sys.executable, "-m", "fanmail", *arguments]
        self.process = subprocess.Popen(argv, stdin=other, stdout=other, stderr=other, env=environ)
        os.close(other)

    def read_until(self, words: str) -> str:
        """Return all output since the start, once it contains `words`, or at the end if `words` is ""."""
        while not words or words not in self.seen:
            try:
                part = os.read(self._terminal, 65536)
            except OSError:  # EIO: the other end is closed
                assert not words, f"{words!r} never came: {self.seen}"
                break
            self.seen += part.decode()
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> int:
        """Wait for the end. Return the exit code."""
        self.read_until("")
        os.close(self._terminal)
        return self.process.wait(30)
