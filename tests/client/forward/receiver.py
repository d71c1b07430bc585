"""The receiver in JavaScript as a process, and what it has received."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.deployed import missing

SCRIPT = Path(__file__).with_name("receiver.mjs")


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    url: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    answer: str
    at: float
    """Seconds of the receiver's clock."""

    @property
    def number(self) -> int:
        """The `n` of the message."""
        return int(json.loads(self.body)["n"])


class Receiver:
    """Receives within a `with` statement."""

    def __init__(self, port: int = 0) -> None:
        node = shutil.which("node")
        if node is None:
            missing("node")
        argv = [str(node), str(SCRIPT), str(port)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        self.port = int(self._lines.readline())
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.received: list[Received] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._lines.close()

    def _read(self) -> None:
        for line in self._lines:
            fields: dict[str, Any] = json.loads(line)
            fields["body"] = base64.b64decode(fields["body"])
            self.received.append(Received(**fields))

    def accepted(self) -> list[int]:
        """Return the numbers of the messages that were answered with 2xx, in order."""
        return [each.number for each in list(self.received) if each.answer.startswith("2")]


def task(n: int, *answers: str) -> bytes:
    """Return the body of a message that is answered so."""
    return json.dumps({"n": n, "answers": list(answers or ("204",))}).encode()
