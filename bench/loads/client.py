"""A cheap client for loads: prebuilt requests over kept connections, all in one thread with one epoll.

What a connection sends is told by a script, a generator that yields requests and is given their answers, so that
there is one request under way on each connection. Answers are cut at their head; bodies are looked at by scripts only.
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

SILENCE = 40.0
"""Seconds without an answer after which a load is given up; a long poll may take 30."""
BUFFER = 64 * 1024
"""Bytes that a connection's buffer begins with; it doubles when an answer needs more."""


class Answer(NamedTuple):
    """An answer of a status below 400."""

    status: int
    head: bytes
    """The status line and the fields, each with its line's end."""
    body: memoryview
    """Good until the connection receives again."""

    def header(self, name: bytes) -> bytes:
        """The value of a field, named in lower case. Raises `BenchError` where there is none."""
        lower = self.head.lower()
        at = lower.find(b"\r\n" + name + b": ")
        if at < 0:
            raise BenchError(f"an answer without {name.decode()}: {self.head[:300].decode('latin-1')!r}")
        start = at + len(name) + 4
        return self.head[start : self.head.index(b"\r\n", start)]

    def number(self, name: bytes) -> int:
        """The value of a field as a number."""
        return int(self.header(name))


Script = Generator[bytes, Answer, None]
"""Yields the next request, or nothing (b"") to await the answer of one that is under way already."""


class Connection(ABC):
    """One kept connection. Not blocking; `play` waits for it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unsent = memoryview(b"")
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, request: bytes) -> bool:
        """Begins to send. False where something is left that `flush` sends when the socket takes more."""
        self._unsent = memoryview(request)
        return self.flush()

    def flush(self) -> bool:
        """As `send`, of what is left. Raises `BenchError` where the connection is gone."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        except ConnectionError as error:
            raise BenchError(f"the server dropped the connection: {error.strerror}") from None
        return True

    def receive(self) -> Answer | None:
        """Takes in what has come; None while the answer is not whole. Raises `BenchError` for a failed one."""
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
        """The answer that the first bytes of the buffer are, None while they are not a whole one."""


class HttpConnection(Connection):
    """HTTP/1.1 with bodies of known length."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._head = b""
        self._needed = 0
        """Bytes of the whole answer; 0 until its head is there."""

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
    """A request as bytes. Each of `fields` is a whole field line without its end."""
    length = [b"Content-Length: %d" % len(body)] if body or method == "POST" else []
    head = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: localhost", *length, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def play(connections: Sequence[Connection], scripts: Iterable[Script]) -> float:
    """Runs each script on its connection; the seconds until the last has ended.

    Raises `BenchError` for a failed answer, and after `SILENCE`; the connections are of no use then.
    """
    with ExitStack() as stack:
        stage = _Stage(stack.enter_context(select.epoll()))
        for connection, script in zip(connections, scripts, strict=True):
            stage.add(connection, stack.enter_context(closing(script)))
        return stage.play()


class _Stage:
    """The scripts that have not ended, by the descriptor of their connection."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._playing: dict[int, tuple[Connection, Script]] = {}

    def add(self, connection: Connection, script: Script) -> None:
        """One more, before `play`."""
        self._playing[connection.fileno()] = connection, script
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def play(self) -> float:
        """Seconds from the first request until the last script has ended."""
        began = time.perf_counter()
        for descriptor in list(self._playing):
            self._go_on(descriptor, None)
        while self._playing:
            events = self._poll.poll(SILENCE)
            if not events:
                raise BenchError(f"no answer for {SILENCE:g} s")
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
                self._go_on(descriptor, answer)

    def _go_on(self, descriptor: int, answer: Answer | None) -> None:
        connection, script = self._playing[descriptor]
        try:
            following = next(script) if answer is None else script.send(answer)
        except StopIteration:
            self._poll.unregister(descriptor)
            del self._playing[descriptor]
            return
        if not connection.send(following):
            self._poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
