"""What the commands of `bin/replica` do where the logs are in PostgreSQL. Imported only then."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from broker.errors import UnusableStoreError
from broker.replica.engine.names import StreamName
from broker.replica.entry import Clocks
from broker.replica.log import StreamInfo
from broker.replica.postgres.access import access_of
from broker.replica.postgres.logs import opened
from broker.tools.replica_frame import Frame
from common.clock import SystemClock
from common.errors import StartError

Looked = tuple[StreamName | None, StreamInfo | None, str]
"""The log of a broker, what is known of it, and why that is not known."""


def make_all(frame: Frame, new_log: Callable[[Frame, str, str, Clocks], tuple[StreamName, bytes]]) -> int:
    """Make the logs that are missing; `new_log` returns name and first entry of one. Raises `StartError`."""
    with opened(access_of(frame.settings)) as logs:
        for broker_id in frame.ids:
            found = logs.names(frame.cluster.name, broker_id)
            if found:
                print(f"{broker_id}: has a log: {', '.join(map(str, found))}", flush=True)
                continue
            wall_ms = SystemClock().now().wall
            name, genesis = new_log(frame, broker_id, secrets.token_hex(4), Clocks(1, wall_ms, wall_ms))
            logs.create(name, frame.settings.log_max_bytes, genesis)
            if logs.names(name.cluster, name.broker) != [name]:
                logs.delete(name)
                raise StartError(f"broker {name.broker}: another log of it was made at the same time")
            print(f"{broker_id}: {name}", flush=True)
    return 0


def look_at_logs(frame: Frame) -> dict[str, Looked]:
    """Return what is known of the log of each broker. Raises `StartError`."""
    looked: dict[str, Looked] = {}
    with opened(access_of(frame.settings)) as logs:
        for broker_id in frame.ids:
            try:
                name = logs.find(frame.cluster.name, broker_id)
                looked[broker_id] = name, logs.describe(name, frame.settings.log_replicas), ""
            except UnusableStoreError as error:
                looked[broker_id] = None, None, str(error)
    return looked
