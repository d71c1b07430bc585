"""Find and make the logs of brokers in PostgreSQL: for the start of a broker, and for tools. Nothing else makes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from broker.errors import UnusableStoreError
from broker.replica.engine.names import StreamName
from broker.replica.log import StreamInfo
from broker.replica.postgres import tables
from broker.replica.postgres.access import Access
from broker.replica.postgres.health import ServerSettings, State, info_of
from broker.replica.postgres.session import OPTIONS, describe
from common.errors import StartError

NAME = "fanmail replica"


class Logs:
    """A connection to PostgreSQL for a few requests. Made by `opened`."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def names(self, cluster: str, broker: str) -> list[StreamName]:
        """Return the logs that a broker has. There should be one."""
        query = "SELECT log FROM fanmail_logs WHERE cluster = %s AND broker = %s ORDER BY log"
        try:
            rows = self._connection.execute(query, (cluster, broker)).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        return [StreamName(cluster, broker, row[0]) for row in rows]

    def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker. Raises `UnusableStoreError` where there is none, or more than one."""
        found = self.names(cluster, broker)
        if not found:
            text = f"broker {broker} of cluster {cluster} has no log in PostgreSQL: bin/replica init makes it"
            raise UnusableStoreError(text)
        if len(found) > 1:
            raise UnusableStoreError(f"broker {broker} has several logs in PostgreSQL: {', '.join(map(str, found))}")
        return found[0]

    def describe(self, name: StreamName, replicas: int) -> StreamInfo:
        """Return what is known of a log. Raises `UnusableStoreError` where it is gone."""
        row = self._connection.execute(tables.STATE, {"log": name.log_id}).fetchone()
        settings = self._connection.execute(tables.SETTINGS).fetchone()
        if row is None or settings is None:
            raise UnusableStoreError(f"the log {name} is gone")
        return info_of(State(*row), ServerSettings(*settings), replicas)

    def create(self, name: StreamName, max_bytes: int, first: bytes = b"") -> None:
        """Make a log, with a first entry where there is one; the tables too, where they are missing."""
        with self._connection.transaction():
            self._connection.execute(tables.CREATE)
            query = "INSERT INTO fanmail_logs (log, cluster, broker, max_bytes) VALUES (%s, %s, %s, %s)"
            self._connection.execute(query, (name.log_id, name.cluster, name.broker, max_bytes))
            if first:
                self._connection.execute(tables.APPEND, {"log": name.log_id, "data": first, "expected": 0})

    def delete(self, name: StreamName) -> None:
        """Remove a log and all that is in it."""
        with self._connection.transaction():
            for table in ("fanmail_logs", "fanmail_log"):
                self._connection.execute(f"DELETE FROM {table} WHERE log = %s", (name.log_id,))


@contextmanager
def opened(access: Access) -> Iterator[Logs]:
    """Connect. Raises `StartError` with one line where that fails, or where a request does."""
    try:
        with psycopg.connect(access.url, autocommit=True, application_name=NAME, **OPTIONS) as connection:
            connection.execute(tables.SESSION)
            yield Logs(connection)
    except psycopg.Error as error:
        raise StartError(f"PostgreSQL: {describe(error)}") from None
