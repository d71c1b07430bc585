"""The programs of docs/languages.md, where their language is installed, through a proxy that answers 503 and 504.

Of each call the first try is answered 503 without being executed, and the next one 504 after it was executed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from fanmail import Client
from tests.client.listening import Listening, Quiet
from tests.support.documents import code

pytestmark = pytest.mark.slow

PAGE = "docs/languages.md"
PROGRAMS = {
    "go": ("go", "fanmail.go", ["run", "fanmail.go"]),
    "java": ("java", "Fanmail.java", ["-XX:TieredStopAtLevel=1", "Fanmail.java"]),
    "php": ("php", "fanmail.php", ["fanmail.php"]),
}
"""Command, name of the file and arguments, by language."""
FAULTY_TRIES = 2


class FaultyProxy(Quiet):
    """Passes requests on to the front at `port`, but for the first two tries of each."""

    port = 0
    tries: Counter[tuple[str, str, bytes, str | None]]

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        key = self.headers["Idempotency-Key"]
        request = (self.command, self.path, body if key else b"", key)
        self.tries[request] += 1
        number = self.tries[request]
        if number == 1:
            self._answer(503, [("Retry-After", "0")], b"")
            return
        if self.command == "PATCH" and number > FAULTY_TRIES:  # it has been given back: no program may fail of that
            self._answer(409, [], b"")
            return
        front = HTTPConnection("127.0.0.1", self.port, timeout=40)
        front.request(self.command, self.path, body, dict(self.headers.items()))
        response = front.getresponse()
        content = response.read()
        front.close()
        if number == FAULTY_TRIES and "lease=30" not in self.path:  # a lost lease would run for 30 s
            self._answer(504, [], b"")
        else:
            self._answer(response.status, response.getheaders(), content)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "keep-alive", "transfer-encoding"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _pass_on


@pytest.fixture
def proxy(urls: list[str]) -> Iterator[str]:
    FaultyProxy.port, FaultyProxy.tries = int(urls[0].rpartition(":")[2]), Counter()
    with Listening(FaultyProxy) as listening:
        yield listening.url


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_program_publishes_once_reads_in_order_and_gives_back(
    client: Client, proxy: str, topic: str, language: str, tmp_path: Path
) -> None:
    name, file, arguments = PROGRAMS[language]
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    text = code(PAGE, language).replace('"news"', f'"{topic}/news"').replace('"jobs"', f'"{topic} jobs"')
    (tmp_path / file).write_text(text)
    environ = os.environ | {"FANMAIL_URL": proxy, "GO111MODULE": "off", "no_proxy": "*"}
    environ.pop("FANMAIL_API_KEY", None)
    done = subprocess.run(
        [program, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=110, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    read = [f"read {body}" for body in ("one", "two", "three")]
    assert done.stdout.splitlines() == [*read, "done one", "done three", "done two"]
    for subscription in ((f"{topic}/news", "ann"), (f"{topic} jobs", "crew")):
        status = client.status(*subscription)
        assert (status.pending, status.leased, status.dead) == (0, 0, 0)
    assert min(FaultyProxy.tries.values()) >= FAULTY_TRIES, "503 was repeated"
