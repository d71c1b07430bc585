"""What tools do with the logs of an engine: find, make, look at and remove them. Nothing else makes one."""

from __future__ import annotations

from typing import Protocol

from broker.errors import UnusableStoreError
from broker.replica.engine.names import StreamName
from broker.replica.log import StreamInfo


class Logs(Protocol):
    """A connection for a few requests. Each raises what the `ask` of its engine makes one line of."""

    async def names(self, cluster: str, broker: str) -> list[StreamName]:
        """Return the logs that a broker has. There should be one."""
        ...

    async def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker. Raises `UnusableStoreError` where there is none, or more than one."""
        ...

    async def look(self, name: StreamName, replicas: int) -> StreamInfo:
        """Return what is known of a log that should have as many copies."""
        ...

    async def read(self, name: StreamName, position: int) -> bytes | None:
        """Return an entry, None where there is none."""
        ...

    async def make(self, name: StreamName, genesis: bytes, max_bytes: int, replicas: int) -> None:
        """Make a log with its first entry, durable in as many copies. Raises `StartError` where it exists."""
        ...

    async def delete(self, name: StreamName) -> None:
        """Remove a log and all that is in it: nobody can append to it any more."""
        ...


def only_one(found: list[StreamName], engine: str, cluster: str, broker: str) -> StreamName:
    """Return the log of a broker. Raises `UnusableStoreError` where there is none, or more than one."""
    if not found:
        raise UnusableStoreError(
            f"broker {broker} of cluster {cluster} has no log in {engine}: bin/replica init makes it"
        )
    if len(found) > 1:
        raise UnusableStoreError(f"broker {broker} has several logs in {engine}: {', '.join(map(str, found))}")
    return found[0]
