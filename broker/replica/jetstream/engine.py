"""NATS JetStream as the engine of logs."""

from __future__ import annotations

from typing import NamedTuple

from broker.replica.engine.names import StreamName
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.log import JetStreamLog
from broker.replica.jetstream.streams import Streams, ask
from broker.replica.log import Log


class JetStream(NamedTuple):
    """See `Engine`."""

    access: Access

    def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker."""

        async def find(streams: Streams) -> StreamName:
            return await streams.find(cluster, broker)

        return ask(self.access, find)

    def open(self, name: StreamName, candidate: str, max_batch: int, replicas: int) -> Log:
        """Return an access to a log."""
        return JetStreamLog(self.access, name, candidate, max_batch, replicas)
