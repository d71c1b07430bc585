"""What the commands of `bin/replica` ask of the logs, whichever engine has them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, TypeVar

from broker.errors import UnusableStoreError
from broker.replica.engine.logs import Logs
from broker.replica.engine.names import StreamName
from broker.replica.jetstream import api
from broker.replica.jetstream.streams import ask
from broker.replica.log import StreamInfo
from broker.tools.replica_frame import Frame

T = TypeVar("T")


class Looked(NamedTuple):
    """What is known of the log of a broker."""

    name: StreamName | None
    info: StreamInfo | None
    problem: str
    """Why that is not known; else empty."""


def ask_logs(frame: Frame, work: Callable[[Logs], Coroutine[Any, Any, T]]) -> T:
    """Connect, and return what `work` returns. Raises `StartError` with one line, and what `work` raises."""
    if frame.reach is not None:
        return ask(frame.reach, work)
    from broker.replica.postgres.access import access_of  # needs psycopg
    from broker.replica.postgres.logs import ask as ask_postgres

    return ask_postgres(access_of(frame.settings), work)


def look_at_logs(frame: Frame) -> dict[str, Looked]:
    """Return what is known of the log of each broker. Raises `StartError` where no server answers."""
    return ask_logs(frame, partial(_look, frame))


async def _look(frame: Frame, logs: Logs) -> dict[str, Looked]:
    looked = {}
    for broker_id in frame.ids:
        try:
            name = await logs.find(frame.cluster.name, broker_id)
            looked[broker_id] = Looked(name, await logs.look(name, frame.settings.log_replicas), "")
        except (UnusableStoreError, api.RequestError) as error:
            looked[broker_id] = Looked(None, None, str(error))
    return looked
