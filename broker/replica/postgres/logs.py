"""Find, make and remove the logs of brokers in PostgreSQL: for the start of a broker, and for tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from broker.errors import UnusableStoreError
from broker.replica.engine.logs import only_one
from broker.replica.engine.names import StreamName
from broker.replica.log import StreamInfo
from broker.replica.postgres import tables
from broker.replica.postgres.access import Access
from broker.replica.postgres.health import ServerSettings, State, info_of
from broker.replica.postgres.session import OPTIONS, Row, describe
from common.errors import StartError

NAME = "fanmail replica"

T = TypeVar("T")


class Logs:
    """A connection to PostgreSQL for a few requests. Made by `ask`."""

    def __init__(self, connection: AsyncConnection[Row]) -> None:
        self._connection = connection

    async def names(self, cluster: str, broker: str) -> list[StreamName]:
        """Return the logs that a broker has. There should be one."""
        query = "SELECT log FROM fanmail_logs WHERE cluster = %s AND broker = %s ORDER BY log"
        try:
            rows = await (await self._connection.execute(query, (cluster, broker))).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        return [StreamName(cluster, broker, row[0]) for row in rows]

    async def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker. Raises `UnusableStoreError` where there is none, or more than one."""
        return only_one(await self.names(cluster, broker), "PostgreSQL", cluster, broker)

    async def look(self, name: StreamName, replicas: int) -> StreamInfo:
        """Return what is known of a log. Raises `UnusableStoreError` where it is gone."""
        row = await (await self._connection.execute(tables.STATE, {"log": name.log_id})).fetchone()
        settings = await (await self._connection.execute(tables.SETTINGS)).fetchone()
        if row is None or settings is None:
            raise UnusableStoreError(f"the log {name} is gone")
        return info_of(State(*row), ServerSettings(*settings), replicas)

    async def read(self, name: StreamName, position: int) -> bytes | None:
        """Return an entry, None where there is none."""
        query = "SELECT data FROM fanmail_log WHERE log = %s AND position = %s"
        row = await (await self._connection.execute(query, (name.log_id, position))).fetchone()
        return None if row is None else bytes(row[0])

    async def make(self, name: StreamName, genesis: bytes, max_bytes: int, replicas: int = 0) -> None:
        """Make a log with its first entry, none if it is empty; the tables too, where they are missing.

        How many copies there are is a setting of the server.
        """
        async with self._connection.transaction():
            await self._connection.execute(tables.CREATE)
            query = "INSERT INTO fanmail_logs (log, cluster, broker, max_bytes) VALUES (%s, %s, %s, %s)"
            await self._connection.execute(query, (name.log_id, name.cluster, name.broker, max_bytes))
            if genesis:
                await self._connection.execute(tables.APPEND, {"log": name.log_id, "data": genesis, "expected": 0})

    async def delete(self, name: StreamName) -> None:
        """Remove a log and all that is in it."""
        async with self._connection.transaction():
            for table in ("fanmail_logs", "fanmail_log"):
                await self._connection.execute(f"DELETE FROM {table} WHERE log = %s", (name.log_id,))


def ask(access: Access, work: Callable[[Logs], Coroutine[Any, Any, T]]) -> T:
    """Connect, and return what `work` returns.

    Raises `StartError` with one line where that fails, or where a request does, and what `work` raises.
    """
    return asyncio.run(_ask(access, work))


async def _ask(access: Access, work: Callable[[Logs], Coroutine[Any, Any, T]]) -> T:
    try:
        async with await AsyncConnection.connect(
            access.url, autocommit=True, application_name=NAME, **OPTIONS
        ) as connection:
            await connection.execute(tables.SESSION)
            return await work(Logs(connection))
    except psycopg.Error as error:
        raise StartError(f"PostgreSQL: {describe(error)}") from None
