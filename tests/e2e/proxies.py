"""nginx and HAProxy as real processes, with the files in `deploy/`, in which only places are filled in."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.cluster import PATIENCE, ROOT, Client, Front, Process, free_ports, short_folder, wait_for

PROGRAMS = ("nginx", "haproxy")
DOORS = [(program, scheme) for program in PROGRAMS for scheme in ("http", "https")]
TLS_DOORS = [each for each in DOORS if each[1] == "https"]
FILES = {"nginx": ROOT / "deploy/nginx/nginx.conf", "haproxy": ROOT / "deploy/haproxy/haproxy.cfg"}
_STREAM = Path("/etc/nginx/modules-enabled/50-mod-stream.conf")
_FRONTS = re.compile(r"^ +server [^;\n]*127\.0\.0\.1:810[0-9].*\n", re.MULTILINE)
_OPERATIONS = re.compile(r"^ +server [^;\n]*127\.0\.0\.1:910[0-9].*\n", re.MULTILINE)


@dataclass(frozen=True)
class Places:
    """The parts of a shipped file that differ between machines."""

    folder: Path
    plain: int
    tls: int
    inner: int
    metrics: int
    fronts: Sequence[int]
    operations: Sequence[int]


def tool(name: str) -> str:
    """Return the path of a proxy. If it is missing, the test is skipped, or fails in CI."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    missing = name if path is None else ""
    if name == "nginx" and path and "--with-stream " not in _built_with(path) and not _STREAM.exists():
        missing = "the stream module of nginx (libnginx-mod-stream)"
    if missing:
        assert not os.environ.get("CI"), f"{missing} is not installed"
        pytest.skip(f"{missing} is not installed")
    assert path
    return path


def _built_with(nginx: str) -> str:
    return subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr + " "


def put(text: str, old: str, new: str, times: int = 1) -> str:
    """Replace `old`, which must occur this many times."""
    assert text.count(old) == times, f"{old!r} is there {text.count(old)} times and not {times}"
    return text.replace(old, new)


def _servers(text: str, kind: re.Pattern[str], lines: Sequence[str]) -> str:
    """Replace the lines of the fronts, or of their operations ports, which are consecutive."""
    found = kind.findall(text)
    assert len(found) == 4, found
    return put(text, "".join(found), "".join(lines))


def _nginx(text: str, places: Places) -> str:
    folder = places.folder
    text = put(text, "listen 443 ssl", f"listen 127.0.0.1:{places.tls} ssl")
    text = put(text, "listen 127.0.0.1:8080;", f"listen 127.0.0.1:{places.plain};")
    text = put(text, "127.0.0.1:8190", f"127.0.0.1:{places.inner}", 3)
    text = put(text, "listen 127.0.0.1:9200;", f"listen 127.0.0.1:{places.metrics};")
    text = put(text, "/etc/nginx/fanmail.crt", f"{folder}/fanmail.crt")
    text = put(text, "/etc/nginx/fanmail.key", f"{folder}/fanmail.key")
    text = put(text, "/var/log/nginx/", f"{folder}/nginx-", 3)
    text = put(text, "/run/nginx.pid", f"{folder}/nginx.pid")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    text = put(text, "client_body_temp_path /var/lib/nginx/body;", temporary)
    if os.geteuid() != 0:
        text = put(text, "user www-data;\n", "")
    line = "        server 127.0.0.1:{} max_fails=0;\n"
    text = _servers(text, _OPERATIONS, [line.format(port) for port in places.operations])
    return _servers(text, _FRONTS, [line.format(port) for port in places.fronts])


def _haproxy(text: str, places: Places) -> str:
    text = put(text, "bind :443", f"bind 127.0.0.1:{places.tls}")
    text = put(text, "bind 127.0.0.1:8080", f"bind 127.0.0.1:{places.plain}")
    text = put(text, "bind 127.0.0.1:9200", f"bind 127.0.0.1:{places.metrics}")
    text = put(text, "/etc/haproxy/fanmail.pem", f"{places.folder}/fanmail.pem")
    if os.geteuid() != 0:
        text = put(text, "    user haproxy\n    group haproxy\n", "")
    line = "    server {}{} 127.0.0.1:{}\n"
    operations = [line.format("operations", n, port) for n, port in enumerate(places.operations)]
    text = _servers(text, _OPERATIONS, operations)
    return _servers(text, _FRONTS, [line.format("front", n, port) for n, port in enumerate(places.fronts)])


def certificate(folder: Path) -> None:
    """Write a self-signed certificate for 127.0.0.1 as `fanmail.crt`, `fanmail.key`, and both as `fanmail.pem`."""
    crt, key = folder / "fanmail.crt", folder / "fanmail.key"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=fanmail", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *kind, *name, "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "fanmail.pem").write_bytes(crt.read_bytes() + key.read_bytes())


class TlsClient(Client):
    """A `Client` over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, timeout: float = PATIENCE) -> None:
        super().__init__(port, timeout)
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=timeout)


class Door(Front):
    """A port of a proxy, which tests use like a front."""

    def __init__(self, proxy: Proxy, scheme: str) -> None:
        tls = scheme == "https"
        super().__init__(proxy.process, proxy.places.tls if tls else proxy.places.plain)
        self.proxy = proxy
        self.scheme = scheme
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._context = ssl.create_default_context(cafile=proxy.places.folder / "fanmail.crt") if tls else None

    def topic(self, stem: str) -> str:
        """Return a name that no other door has."""
        return f"{stem}-{self.proxy.program}-{self.scheme}"

    def connect(self, source: str = "127.0.0.1", protocol: str = "http/1.1") -> socket.socket:
        """Return a raw connection, from an address; over TLS with that protocol chosen."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE, (source, 0))
        if self._context is None:
            return connection
        context = ssl.create_default_context(cafile=self.proxy.places.folder / "fanmail.crt")
        context.set_alpn_protocols([protocol])
        return context.wrap_socket(connection, server_hostname="127.0.0.1")

    def client(self, timeout: float = PATIENCE) -> Client:
        return TlsClient(self.port, self._context, timeout) if self._context else Client(self.port, timeout)


class Proxy:
    """A proxy that runs before some ports."""

    def __init__(
        self,
        program: str,
        fronts: Sequence[int],
        changes: Mapping[str, str] | None = None,
        operations: Sequence[int] = (),
    ) -> None:
        """Start a proxy.

        `changes` are further replacements, for tests of what the shipped text prevents. `operations` are the operations
        ports of the fronts, for tests that call them.
        """
        path = tool(program)
        first = free_ports(4)
        folder = short_folder()
        folder.chmod(0o711)  # the workers are another user
        self.program = program
        self.places = Places(folder, first, first + 1, first + 2, first + 3, fronts, operations or fronts)
        certificate(folder)
        text = (_nginx if program == "nginx" else _haproxy)(FILES[program].read_text(), self.places)
        for old, new in (changes or {}).items():
            text = put(text, old, new)
        self.file = folder / FILES[program].name
        self.file.write_text(text)
        run = ["-e", "stderr", "-g", "daemon off;", "-c"] if program == "nginx" else ["-W", "-db", "-f"]
        # A kill would leave its workers behind, should the tests end by one.
        argv = ["setpriv", "--pdeathsig", "TERM", path, *run, str(self.file)]
        self.process = Process(program, argv, folder / "proxy.log", folder)
        try:
            wait_for(self._listens, f"{program} to listen")
        except BaseException:
            print(self.about())
            self.close()
            raise

    def _listens(self) -> bool:
        assert self.process.running, self.about()
        try:
            Client(self.places.plain).call("GET", "/livez")
        except OSError:
            return False
        return True

    def log(self) -> str:
        """Return everything that it has written: access logs, errors, standard error."""
        texts = [path.read_text("utf-8", "backslashreplace") for path in sorted(self.places.folder.glob("*.log"))]
        return "\n".join(texts)

    def about(self) -> str:
        """Return the log for a failure's report."""
        return f"--- {self.program} ---\n{self.log()[-4000:]}"

    def close(self) -> None:
        """Stop it and the processes that it has started, and remove its folder."""
        if self.process.running:
            self.process.terminate()
        shutil.rmtree(self.places.folder, ignore_errors=True)


@contextmanager
def running(
    program: str,
    fronts: Sequence[int],
    changes: Mapping[str, str] | None = None,
    operations: Sequence[int] = (),
) -> Iterator[Proxy]:
    """Run a proxy within the context."""
    proxy = Proxy(program, fronts, changes, operations)
    try:
        yield proxy
    except BaseException:
        print(proxy.about())
        raise
    finally:
        proxy.close()
