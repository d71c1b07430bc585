"""What a broker needs of an engine, beside its `Log`."""

from __future__ import annotations

from typing import Protocol

from broker.replica.engine.names import StreamName
from broker.replica.log import Log


class Engine(Protocol):
    """The way to the logs of one system."""

    def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker. Raises `StartError`, or `UnusableStoreError` where there is not exactly one."""
        ...

    def open(self, name: StreamName, candidate: str, max_batch: int, replicas: int) -> Log:
        """Return an access to a log. `max_batch`: bytes of the greatest burst; `replicas`: copies to keep."""
        ...
