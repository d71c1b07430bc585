"""`python stream_client.py JSON`: a client of one stream as a process, so that it can be stopped and killed.

It says what happens in JSON lines on standard output, each before it goes on: a message is handled once it is written
there, so whatever kills this process loses nothing that it has said. SIGTERM resets its connection. Only a few modules
of the standard library are imported: a fault run starts thousands of these.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

PATIENCE_S = 30.0
IDLE_S, PACE_S = 0.03, 0.15
"""Seconds of silence after which, and time between two requests with which, it confirms what it has handled."""


def say(*lines: dict[str, Any]) -> None:
    """Write at once; `at` is the monotonic clock, which all processes of a machine share."""
    os.write(1, b"".join(json.dumps(each | {"at": time.monotonic()}).encode() + b"\n" for each in lines))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


class Confirmer:
    """Confirms by PATCH over a connection of its own."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._sock: socket.socket | None = None

    def confirm(self, message_id: str) -> None:
        """Say what was confirmed, where the answer says so."""
        try:
            self._sock = self._sock or connect(self._port)
            self._sock.sendall(f"PATCH {self._path}?after={message_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = self._answer(self._sock)
        except (OSError, ValueError):
            self._sock = None
            return
        say({"confirmed" if answer.startswith(b"HTTP/1.1 200 ") else "refused": message_id})

    def _answer(self, sock: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                raise OSError("closed")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
        while left > 0:
            left -= len(sock.recv(65536)) or left
        return head


class Lines:
    """The lines of a chunked body, empty ones too."""

    def __init__(self) -> None:
        self._chunks, self._text = bytearray(), b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        self._chunks += data
        while (end := self._chunks.find(b"\r\n")) > 0:
            last = end + 2 + int(self._chunks[:end], 16)
            if len(self._chunks) < last + 2:
                break
            self._text += self._chunks[end + 2 : last]
            del self._chunks[: last + 2]
        *lines, self._text = self._text.split(b"\n")
        return lines


class Events:
    """Server-sent events, each as its line of NDJSON would be; `start` is the id before the first one."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def read(self, lines: list[bytes]) -> list[dict[str, Any]]:
        found = []
        for line in lines:
            name, _, value = line.decode().partition(": ")
            if name:
                self._fields[name] = value
                continue
            fields, self._fields = self._fields, {}
            if "data" in fields:
                kind = {"event": fields["event"]} if "event" in fields else {}
                found.append(kind | json.loads(fields["data"]))
            elif "id" in fields:
                found.append({"start": fields["id"]})
        return found


def of_ndjson(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line]


READERS = {"sse": lambda: Events().read, "ndjson": lambda: of_ndjson}
TOLD = ("event", "id", "text", "from", "position", "start")
"""What is said of an event."""


def follow(sock: socket.socket, rest: bytes, form: str, confirmer: Confirmer | None) -> None:
    """Read until the server ends, handle each message, and confirm from time to time."""
    lines, read, handled, confirmed, confirmed_at = Lines(), READERS[form](), "", "", 0.0
    while True:
        found = read(lines.feed(rest))
        if found:
            say(*({name: each[name] for name in TOLD if name in each} for each in found))
            handled = next((each["id"] for each in reversed(found) if "id" in each), handled)
        ready = select.select([sock], [], [], IDLE_S if handled != confirmed else PATIENCE_S)[0]
        due = confirmer is not None and handled != confirmed
        if confirmer is not None and due and (not ready or time.monotonic() > confirmed_at + PACE_S):
            confirmer.confirm(handled)
            confirmed, confirmed_at = handled, time.monotonic()
        rest = sock.recv(65536) if ready else b""
        if ready and not rest:
            return


def main() -> None:
    asked = json.loads(sys.argv[1])
    sock = connect(asked["port"])

    def reset(*_: object) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        os._exit(0)

    signal.signal(signal.SIGTERM, reset)
    last = f"Last-Event-ID: {asked['last']}\r\n" if asked["last"] else ""
    target = f"{asked['path']}?stream={asked['form']}&confirm={asked['confirm']}"
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    say({"status": status, "why": "" if status == 200 else rest.decode("utf-8", "replace")})
    if status == 200:
        confirmer = Confirmer(asked["patch_port"], asked["path"]) if asked["confirm"] == "client" else None
        follow(sock, rest, asked["form"], confirmer)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        say({"failed": repr(error)})
