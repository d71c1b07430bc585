"""PostgreSQL as the engine of logs."""

from __future__ import annotations

from typing import NamedTuple

from broker.replica.engine.names import StreamName
from broker.replica.log import Log
from broker.replica.postgres.access import Access
from broker.replica.postgres.log import PostgresLog
from broker.replica.postgres.logs import Logs, ask


class Postgres(NamedTuple):
    """See `Engine`."""

    access: Access

    def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker."""

        async def find(logs: Logs) -> StreamName:
            return await logs.find(cluster, broker)

        return ask(self.access, find)

    def open(self, name: StreamName, candidate: str, max_batch: int, replicas: int) -> Log:
        """Return an access to a log; a row takes more than any burst has."""
        return PostgresLog(self.access, name, candidate, replicas)
