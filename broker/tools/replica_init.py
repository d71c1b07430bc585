"""`bin/replica init`: makes the log of each broker. Nothing else ever makes one, but `relog` and `import`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial

from broker.replica.engine.logs import Logs
from broker.replica.engine.names import StreamName
from broker.replica.entry import LOG_ID_BYTES, Clocks, Genesis
from broker.replica.genesis import genesis_entry
from broker.tools.replica_frame import LOG_FLAGS, Frame, load_frame, no_options
from broker.tools.replica_logs import ask_logs
from common.clock import SystemClock
from common.command_line import About
from common.errors import StartError

HELP = "make the log of each broker, once"
ABOUT = About(
    "Make the replicated log of each broker of the description: a stream of NATS JetStream, or rows in "
    "PostgreSQL, with an entry that says whose it is. A broker that has a log keeps it. "
    "Each log reserves --log-max-bytes on --log-replicas servers.",
    ("--config cluster.toml --nats nats://h1:4222,nats://h2:4222,nats://h3:4222",),
)
FLAGS = ("ids", *LOG_FLAGS, "log_max_bytes", "log_replicas")


def run(argv: Sequence[str]) -> int:
    """Make what is missing. Raises `StartError`."""
    frame = load_frame("init", argv, ABOUT, FLAGS, no_options)
    return ask_logs(frame, partial(_make_all, frame))


async def _make_all(frame: Frame, logs: Logs) -> int:
    for broker_id in frame.ids:
        found = await logs.names(frame.cluster.name, broker_id)
        if found:
            print(f"{broker_id}: has a log: {', '.join(map(str, found))}", flush=True)
            continue
        wall_ms = SystemClock().now().wall
        name, genesis = new_log(frame, broker_id, secrets.token_hex(4), Clocks(1, wall_ms, wall_ms))
        await make_log(frame, logs, name, genesis)
        print(f"{broker_id}: {name}", flush=True)
    return 0


def new_log(frame: Frame, broker_id: str, store_id: str, clocks: Clocks, term: int = 0) -> tuple[StreamName, bytes]:
    """Return the name and the first entry of a new log. `store_id` is that of the stores that follow it."""
    name = StreamName(frame.cluster.name, broker_id, secrets.token_bytes(LOG_ID_BYTES))
    genesis = Genesis(frame.cluster.name, broker_id, store_id)
    return name, genesis_entry(name.log_id, genesis, clocks, term)


async def make_log(frame: Frame, logs: Logs, name: StreamName, genesis: bytes) -> None:
    """Make a log, the only one of its broker. Raises `StartError`."""
    await logs.make(name, genesis, frame.settings.log_max_bytes, frame.settings.log_replicas)
    if await logs.names(name.cluster, name.broker) != [name]:
        await logs.delete(name)
        raise StartError(f"broker {name.broker}: another log of it was made at the same time")
