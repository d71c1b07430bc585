"""A cheap load client: prebuilt requests over persistent connections, in one thread with one epoll.

A script, a generator that yields requests and receives their answers, decides what a connection sends: there is one
request in flight per connection. Only the head of an answer is parsed; bodies are examined by scripts only.
"""

from __future__ import annotations

import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from bench.harness.processes import BenchError

ANSWER_TIMEOUT_S = 40.0
"""Seconds without an answer after which a load fails; a long poll may take 30."""
BUFFER = 64 * 1024
"""Initial buffer size in bytes of a connection; it doubles as needed."""


class Answer(NamedTuple):
    """An answer with a status below 400."""

    status: int
    head: bytes
    """The status line and the header fields, each with its line ending."""
    body: memoryview
    """Valid until the connection receives again."""

    def header(self, name: bytes) -> bytes:
        """Return the value of a header field, named in lower case. Raises `BenchError` if it is missing."""
        lower = self.head.lower()
        at = lower.find(b"\r\n" + name + b": ")
        if at < 0:
            raise BenchError(f"answer without {name.decode()}: {self.head[:300].decode('latin-1')!r}")
        start = at + len(name) + 4
        return self.head[start : self.head.index(b"\r\n", start)]

    def number(self, name: bytes) -> int:
        """Return the value of a header field as a number."""
        return int(self.header(name))


Script = Generator[bytes, Answer, None]
"""Yields the next request, or b"" to await the answer of a request in flight."""


class Connection(ABC):
    """A persistent, non-blocking connection; `play` waits for it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unsent = memoryview(b"")
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, request: bytes) -> bool:
        """Start sending. Returns False if bytes are left for `flush`."""
        self._unsent = memoryview(request)
        return self.flush()

    def flush(self) -> bool:
        """Send what is left, as `send`. Raises `BenchError` if the connection is lost."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        except ConnectionError as error:
            raise BenchError(f"the server dropped the connection: {error.strerror}") from None
        return True

    def receive(self) -> Answer | None:
        """Read; returns None while the answer is incomplete. Raises `BenchError` for an error status."""
        try:
            received = self._socket.recv_into(self._view[self._filled :])
        except ConnectionError as error:
            raise BenchError(f"the server dropped the connection: {error.strerror}") from None
        if not received:
            raise BenchError("the server closed the connection")
        self._filled += received
        answer = self._cut(self._filled)
        if answer is not None:
            self._filled = 0
        elif self._filled == len(self._buffer):
            self._buffer = self._buffer + bytes(len(self._buffer))
            self._view = memoryview(self._buffer)
        return answer

    def close(self) -> None:
        self._socket.close()

    @abstractmethod
    def _cut(self, filled: int) -> Answer | None:
        """Parse the first `filled` bytes of the buffer; None while they are not a complete answer."""


class HttpConnection(Connection):
    """HTTP/1.1 with bodies of known length."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._head = b""
        self._needed = 0
        """Size of the whole answer in bytes; 0 until its head has arrived."""

    def _cut(self, filled: int) -> Answer | None:
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n", 0, filled)
            if end < 0:
                return None
            self._head = bytes(self._view[: end + 2])
            self._needed = end + 4 + self._body_length()
        if filled < self._needed:
            return None
        body = self._view[len(self._head) + 2 : self._needed]
        self._needed = 0
        answer = Answer(int(self._head[9:12]), self._head, body)
        if answer.status >= 400:
            raise BenchError(f"{answer.status}: {bytes(body[:300]).decode('latin-1')}")
        return answer

    def _body_length(self) -> int:
        return 0 if self._head[9:12] == b"204" else Answer(0, self._head, self._view).number(b"content-length")


def request(method: str, target: bytes, body: bytes = b"", *fields: bytes) -> bytes:
    """Return a request as bytes. Each of `fields` is a header line without its line ending."""
    length = [b"Content-Length: %d" % len(body)] if body or method == "POST" else []
    head = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: localhost", *length, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def play(connections: Sequence[Connection], scripts: Iterable[Script]) -> float:
    """Run each script on its connection and return the seconds until the last one ends.

    Raises `BenchError` for an error status and after `ANSWER_TIMEOUT_S`; the connections are unusable then.
    """
    with ExitStack() as stack:
        player = _Player(stack.enter_context(select.epoll()))
        for connection, script in zip(connections, scripts, strict=True):
            player.add(connection, stack.enter_context(closing(script)))
        return player.play()


class _Player:
    """The scripts that are running, by the descriptor of their connection."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._playing: dict[int, tuple[Connection, Script]] = {}

    def add(self, connection: Connection, script: Script) -> None:
        """Add a script, before `play`."""
        self._playing[connection.fileno()] = connection, script
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def play(self) -> float:
        """Run all scripts and return the seconds from the first request until the last script ends."""
        began = time.perf_counter()
        for descriptor in list(self._playing):
            self._advance(descriptor, None)
        while self._playing:
            events = self._poll.poll(ANSWER_TIMEOUT_S)
            if not events:
                raise BenchError(f"no answer for {ANSWER_TIMEOUT_S:g} s")
            for descriptor, event in events:
                self._step(descriptor, event)
        return time.perf_counter() - began

    def _step(self, descriptor: int, event: int) -> None:
        connection, _ = self._playing[descriptor]
        if event & select.EPOLLOUT and connection.flush():
            self._poll.modify(descriptor, select.EPOLLIN)
        if event & ~select.EPOLLOUT:
            answer = connection.receive()
            if answer is not None:
                self._advance(descriptor, answer)

    def _advance(self, descriptor: int, answer: Answer | None) -> None:
        connection, script = self._playing[descriptor]
        try:
            next_request = next(script) if answer is None else script.send(answer)
        except StopIteration:
            self._poll.unregister(descriptor)
            del self._playing[descriptor]
            return
        if not connection.send(next_request):
            self._poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
