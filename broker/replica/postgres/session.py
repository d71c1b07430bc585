"""A connection to PostgreSQL that is made again after it was lost.

A statement is never cancelled: while a commit waits for the standbys, that would make visible what they do not have.
Who gives up ends the connection; the server then goes on with the wait, and nobody sees the rows before it ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from broker.replica.postgres import tables
from broker.replica.postgres.access import Access

OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 3,
    "client_encoding": "utf8",
    "target_session_attrs": "read-write",
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 4000,
}
"""A server that has vanished is left, and one that only reads is not used."""
Failures = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, OSError)
"""What may be over when it is tried again."""
Row = tuple[Any, ...]


class Session:
    """One connection at a time, without transactions of several statements. Used in the thread of the event loop."""

    def __init__(self, access: Access, name: str) -> None:
        """`name` is what the server shows of it."""
        self._access, self._name = access, name
        self._connection: AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()
        self._warned = ""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def connect(self) -> AsyncConnection[Row]:
        """Return the connection. Raises what is in `Failures`."""
        async with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                connection = await AsyncConnection.connect(
                    self._access.url, autocommit=True, application_name=self._name, **OPTIONS
                )
                connection.add_notice_handler(self._on_notice)
                self._connection = connection
                await connection.execute(tables.SESSION)
            return connection

    async def run(self, statement: str, **arguments: object) -> list[Row]:
        """Run a statement, and return its rows. Raises what is in `Failures`.

        A commit that PostgreSQL ended without the standbys is answered with a warning only; it is a failure here.
        """
        task = asyncio.ensure_future(self._run(await self.connect(), statement, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _run(
        self, connection: AsyncConnection[Row], statement: str, arguments: Mapping[str, object]
    ) -> list[Row]:
        self._warned = ""
        cursor = await connection.execute(statement, arguments, binary=True)
        rows = await cursor.fetchall() if cursor.description else []
        if self._warned:
            raise psycopg.OperationalError(self._warned)
        return rows

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # else it is shown where nobody waits any more

    def _on_notice(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warned = notice.message_primary or "a warning"

    def cut(self) -> None:
        """End the connection; what runs on it fails, and its outcome is unknown."""
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            return
        # `suppress`: the server was faster.
        with socket.socket(fileno=os.dup(connection.fileno())) as copy, suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)
        task = asyncio.ensure_future(_close(connection))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """End the connection, and wait until nothing runs."""
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)


async def _close(connection: AsyncConnection[Row]) -> None:
    async with connection.lock:  # behind what has just failed
        await connection.close()


def describe(error: BaseException) -> str:
    """Return an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
