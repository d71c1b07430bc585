"""A user at a terminal: one bash in a copy of the checkout, with servers that Ctrl-C stops.

Ports and places that the documents name are replaced by the test's own; everything else runs as it is written.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.e2e.cluster import PATIENCE, clean_environ, die_with_the_tests, free_ports, is_ready, wait_for
from tests.support.documents import ROOT

REPLICATED_PATIENCE = 90.0
"""Seconds: a replicated cluster is some twenty processes, which are started in four steps."""
COMMAND_PATIENCE = 60.0
"""Seconds; a command that takes longer has failed."""
LEFT_OUT = (
    *(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "fanmail-data", "out", "*.egg-info"),
    *("node_modules", "dist"),
)
"""What a user's fresh checkout does not have."""
FAMILIES = (8090, 9090)
"""The documents' ports: 30 from each of these."""
_PORT = re.compile(r"(?<![\d.])(?:809|810|811|909|910|911)\d(?![\d.])")
_PLACE = re.compile(r"(?<![\w./:}~-])/(?=(?:backups|etc|home|mnt|opt|run|srv|tmp|var)/)")
"""The beginnings of absolute paths in the documents that a test must not touch."""
_SERVER = re.compile(r"(?:^|& )(?:\w+=\S+ )*bin/(quickstart|start-brokers|start-fronts)\b(?!.*--help)")
_PLACEHOLDERS = {"RECEIPT": "msg-receipt", "MSG_ID": "msg-id"}
"""Placeholders for a header of the last response that had it."""


class Done(NamedTuple):
    """The end of a command: exit code, output, and the status of curl's last response or 0."""

    code: int
    output: str
    status: int


class Server(NamedTuple):
    """A program in the background of the shell. `group` identifies the block that started it."""

    pid: int
    command: str
    foreground: bool
    group: object
    log: Path


class Session:
    """Commands that run one after another, as in one terminal. `close` ends everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(30 * len(FAMILIES))
        self.port, self.ops_port = self.real(8100), self.real(9100)
        self.servers: list[Server] = []
        self._pending: set[int] = set()
        self._headers: dict[str, str] = {}
        self._number = 0
        self.checkout = folder / "fanmail"
        self.checkout.mkdir()
        copying = 'tar --create --directory "$0" "$@" . | tar --extract --directory "$CHECKOUT"'
        argv = ["bash", "-o", "pipefail", "-c", copying, str(ROOT), *[f"--exclude={each}" for each in LEFT_OUT]]
        subprocess.run(argv, env=os.environ | {"CHECKOUT": str(self.checkout)}, check=True)
        (self.checkout / ".venv").symlink_to(ROOT / ".venv")
        self._take_over_compiled()
        for place in ("home", "backups", "mnt", "opt", "run", "srv", "tmp", "etc/fanmail", "var/lib", "var/log"):
            (folder / place).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_tools()
        self._shell = self._start()

    def real(self, port: int) -> int:
        """Return the port that replaces one of the documents."""
        family = max(each for each in FAMILIES if each <= port)
        return self._ports + 30 * FAMILIES.index(family) + port - family

    def localised(self, text: str) -> str:
        """Return a text of the documents with the test's own ports and places, and with its placeholders filled in."""
        text = _PORT.sub(lambda match: str(self.real(int(match[0]))), text)
        text = re.sub(rf"(?!{self.folder}/){_PLACE.pattern}", f"{self.folder}/", text)
        for word, header in _PLACEHOLDERS.items():
            if re.search(rf"\b{word}\b", text):
                assert header in self._headers, f"{word}: no answer before this had {header}"
                text = re.sub(rf"\b{word}\b", self._headers[header], text)
        return text

    def _take_over_compiled(self) -> None:
        """Copy what was compiled for the tests, so that the first servers do not compile it all at the same time.

        It is valid, as the copies of the sources have the times of the originals.
        """
        if sys.pycache_prefix is None:
            return
        cache = Path(f"{sys.pycache_prefix}{ROOT}")
        for package in ("common", "broker", "httpfront", "client/src"):
            for compiled in (cache / package).rglob(f"*.{sys.implementation.cache_tag}.pyc"):
                folder = self.checkout / compiled.parent.relative_to(cache) / "__pycache__"
                if folder.parent.is_dir():
                    folder.mkdir(exist_ok=True)
                    shutil.copy2(compiled, folder)

    def _make_tools(self) -> None:
        """Make a `curl` that saves the headers of its responses, and the `fanmail` and `python` of the checkout."""
        tools = self.folder / "tools"
        tools.mkdir()
        curl = shutil.which("curl")
        assert curl, "the documents' examples need curl"
        python = f"PYTHONPATH={self.checkout}/client/src exec {sys.executable}"
        for name, line in {
            "curl": f'exec {curl} --dump-header {self.folder}/heads "$@"',
            "fanmail": f'{python} -m fanmail "$@"',
            "python": f'{python} "$@"',
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{line}\n")
            (tools / name).chmod(0o755)

    def _start(self) -> subprocess.Popen[str]:
        environ = {name: value for name, value in clean_environ().items() if not name.startswith("PYTHON")}
        environ |= {
            "HOME": f"{self.folder}/home",
            "PATH": f"{self.folder}/tools:{environ['PATH']}",
            "FANMAIL_RUN_DIR": f"{self.folder}/sockets",
            "FANMAIL_PORT": str(self.port),
            "FANMAIL_OPS_PORT": str(self.ops_port),
            "FANMAIL_DRAIN_IDLE": "0.1",  # so that tests do not wait for a last request on a connection
            "FANMAIL_URL": f"http://127.0.0.1:{self.port}",
            "FANMAIL_OPS_URL": f"http://127.0.0.1:{self.ops_port}",
        }
        with (self.folder / "shell.log").open("wb") as log:
            shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.checkout,
                env=environ,
                text=True,
                preexec_fn=die_with_the_tests,
            )
        self._tell(shell, "set -m -o pipefail")  # with job control, background jobs can be interrupted
        return shell

    @staticmethod
    def _tell(shell: subprocess.Popen[str], line: str) -> None:
        assert shell.stdin
        shell.stdin.write(line + "\n")
        shell.stdin.flush()

    def run(self, text: str, group: object = None) -> Done:
        """Run a command.

        A server keeps running in the background, and the next command waits until it is ready. One in the foreground,
        or of another group, is stopped before the next server starts.
        """
        text = self.localised(text)
        if not _SERVER.search(text):
            self.await_ready()
            return self._execute(text)
        for server in [each for each in self.servers if each.foreground or each.group != group]:
            self.stop(server)
        return self._serve(text, group)

    def _execute(self, text: str) -> Done:
        self._number += 1
        script, out, code = (self.folder / f"{self._number:03}.{end}" for end in ("sh", "out", "code"))
        heads = self.folder / "heads"
        heads.unlink(missing_ok=True)
        script.write_text(text + "\n")
        self._tell(self._shell, f". {script} >{out} 2>&1 </dev/null; echo $? >{code}.new; mv {code}.new {code}")
        try:
            wait_for(lambda: code.exists() or self._shell.poll() is not None, text, COMMAND_PATIENCE)
            assert code.exists(), "it has ended the shell"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{out.read_text(errors='replace')}") from None
        return Done(int(code.read_text()), out.read_text(errors="replace"), self._answer(heads))

    def _answer(self, heads: Path) -> int:
        """Return the status of the last response, and keep its headers for placeholders."""
        lines = heads.read_text().splitlines() if heads.exists() else []
        pairs = [line.partition(":") for line in lines]
        self._headers |= {name.lower(): value.strip() for name, colon, value in pairs if colon}
        status = [line.split()[1] for line in lines if line.startswith("HTTP/")]
        return int(status[-1]) if status else 0

    def _serve(self, text: str, group: object) -> Done:
        foreground = not text.endswith("&")
        ready, pids = self.folder / f"ready-{self._number}", self.folder / "pids"
        done = self._execute(
            f"exec 8>>{ready}; export FANMAIL_READY_FD=8 FANMAIL_SUPERVISOR=$$\n"
            f"{text}{' &' if foreground else ''}\n"
            f"exec 8>&-; unset FANMAIL_READY_FD FANMAIL_SUPERVISOR; jobs -p >{pids}"
        )
        log = self.folder / f"{self._number:03}.out"
        known = {each.pid for each in self.servers}
        new = [int(pid) for pid in pids.read_text().split() if int(pid) not in known]
        self.servers += [Server(pid, text, foreground and pid == new[-1], group, log) for pid in new]
        wait_for(
            lambda: len(ready.read_text().split()) == len(new) or not all(map(_runs, new)),
            f"{text} to be ready",
            REPLICATED_PATIENCE if "--replicated" in text else PATIENCE,
        )
        assert all(map(_runs, new)), f"{text} has ended:\n{log.read_text()}"
        if "fronts" in text or "quickstart" in text:
            self._pending |= {int(port) for port in re.findall(r"--port[ =](\d+)", text)} or {self.port}
        if "--ids" in text:  # the others of the cluster are elsewhere
            self._pending.clear()
        return done._replace(output=log.read_text())

    def await_ready(self) -> None:
        """Wait until the fronts have found their brokers."""
        wait_for(lambda: all(map(is_ready, self._pending)), f"the fronts at {self._pending} to be ready")
        self._pending.clear()

    def stop(self, server: Server) -> None:
        """Press Ctrl-C. Raises AssertionError if the program does not end well."""
        self.servers.remove(server)
        self._pending.clear()
        os.killpg(server.pid, signal.SIGINT)
        done = self._execute(f"wait {server.pid}")
        assert done.code == 0, f"Ctrl-C of {server.command}: exit code {done.code}\n{server.log.read_text()}"

    def stop_all(self) -> None:
        for server in reversed(self.servers[:]):
            self.stop(server)

    def close(self) -> None:
        """Kill whatever is still running."""
        for pid in _descendants(self._shell.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._shell.kill()
        self._shell.wait()
        assert self._shell.stdin
        self._shell.stdin.close()


def python_command(text: str, line: int, script: Path) -> str:
    """Return a command that runs a block of Python. Line numbers of tracebacks are those of the document."""
    script.write_text("\n" * (line - 1) + text)
    return f"python {shlex.quote(str(script))}"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(each for child in children for each in _descendants(child))]
