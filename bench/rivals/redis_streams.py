"""Redis Streams under the same loads: pipelines of XADD, and XREADGROUP without acknowledgement.

Once with prebuilt requests over sockets, as in the load of a front, which measures the server; and once through
redis-py, which measures what a Python program gets.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import redis

from bench.harness.processes import BenchError, Group
from bench.harness.wires import free_port
from bench.loads.client import Answer, Connection, Script, play
from bench.loads.scripts import Batch
from bench.loads.testbed import CONNECTIONS, Figures

GROUP = "readers"
_END = b"$5\r\n-end-\r\n"


def missing() -> str:
    """Return why this cannot be measured, or ""."""
    return "" if shutil.which("redis-server") else "redis-server is not installed"


class RespConnection(Connection):
    """RESP. Every request ends with an ECHO, whose answer marks the end."""

    def _cut(self, filled: int) -> Answer | None:
        if self._buffer[max(0, filled - len(_END)) : filled] != _END:
            return None
        end = filled - len(_END)
        body = self._view[:end]
        if self._buffer[0] == ord("-") or self._buffer.find(b"\r\n-", 0, end) >= 0:
            raise BenchError(f"Redis: {bytes(body[:200]).decode('latin-1')!r}")
        return Answer(200, b"", body)


class RedisPeer:
    """A Redis server without persistence. Each connection has its own stream with one consumer group."""

    def __init__(self, stack: ExitStack) -> None:
        group = stack.enter_context(Group())
        port = free_port()
        command = f"redis-server --bind 127.0.0.1 --port {port} --appendonly no --dir {group.run_dir} --save"
        self._watched = {"Redis": group.start_program(port, *command.split(), "")}
        self._client: redis.Redis = redis.Redis(port=port)
        stack.callback(self._client.close)
        self._connections = [stack.enter_context(closing(RespConnection(port))) for _ in range(CONNECTIONS)]

    def run(self, figures: Figures, batch: Batch, batches: int) -> None:
        """Run `batches` batches per connection from prebuilt requests."""
        streams = [b"s%d" % number for number in range(CONNECTIONS)]
        self._create_streams(streams)
        total = CONNECTIONS * batches * batch.messages
        for kind, script in (("Redis publish", _publish), ("Redis fetch", _fetch)):
            scripts = [script(stream, batch, batches) for stream in streams]
            figures.timed(kind, total, self._watched, partial(play, self._connections, scripts))

    def run_library(self, figures: Figures, batch: Batch, batches: int) -> None:
        """Run through redis-py over one connection."""
        self._create_streams([b"s"])
        total = batches * batch.messages
        for kind, load in (("redis-py publish", self._add_all), ("redis-py fetch", self._read_all)):
            figures.timed(kind, total, self._watched, partial(load, batch, batches))

    def _create_streams(self, streams: list[bytes]) -> None:
        self._client.flushall()
        for stream in streams:
            self._client.xgroup_create(stream, GROUP, mkstream=True)

    def _add_all(self, batch: Batch, batches: int) -> float:
        began = time.perf_counter()
        for _ in range(batches):
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(batch.messages):
                pipeline.xadd(b"s", {b"d": b"x" * batch.size})
            pipeline.execute()
        return time.perf_counter() - began

    def _read_all(self, batch: Batch, batches: int) -> float:
        began = time.perf_counter()
        for _ in range(batches):
            found: Any = self._client.xreadgroup(GROUP, "c", {b"s": ">"}, count=batch.messages, noack=True)
            _expect(len(found[0][1]), batch)
        return time.perf_counter() - began


def _publish(stream: bytes, batch: Batch, batches: int) -> Script:
    one = _command(b"XADD", stream, b"*", b"d", b"x" * batch.size)
    sent = one * batch.messages + _command(b"ECHO", b"-end-")
    for _ in range(batches):
        answer = yield sent
        _expect(bytes(answer.body).count(b"$"), batch)


def _fetch(stream: bytes, batch: Batch, batches: int) -> Script:
    most = b"%d" % batch.messages
    read = _command(b"XREADGROUP", b"GROUP", GROUP.encode(), b"c", b"COUNT", most, b"NOACK", b"STREAMS", stream, b">")
    asked = read + _command(b"ECHO", b"-end-")
    for _ in range(batches):
        answer = yield asked
        _expect(bytes(answer.body).count(b"$%d\r\n" % batch.size), batch)


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _expect(found: int, batch: Batch) -> None:
    if found != batch.messages:
        raise BenchError(f"Redis returned {found} messages or ids, expected {batch.messages}")
