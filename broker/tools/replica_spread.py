"""`bin/replica spread`: has the NATS servers lead as many logs each, and none whose owner is on the same host."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from broker.errors import UnusableStoreError
from broker.replica.engine.names import StreamName
from broker.replica.jetstream.streams import Streams, ask
from broker.tools.candidates import Candidate, ask_all, owner_of
from broker.tools.replica_frame import LOG_FLAGS, Frame, load_frame, no_options
from common.command_line import About
from common.errors import StartError

HELP = "let the NATS servers lead as many logs each"
ABOUT = About(
    "Move the leaders of logs, so that each NATS server leads as many, and, where its name is that of a host, none "
    "whose owner is on that host: else the end of that host costs a take-over and an election. Use it when all "
    "candidates have been started, and after NATS servers were away. Publishing waits for a second or two per log.",
    ("--config cluster.toml --nats nats://h1:4222,nats://h2:4222,nats://h3:4222",),
)
FLAGS = ("ids", *LOG_FLAGS)
PATIENCE_S = 10.0
POLL_S = 0.1


class Led(NamedTuple):
    """A log, and where it is."""

    broker: str
    leader: str
    """"": it has none now."""
    ready: tuple[str, ...]
    """The servers that have all of it, the leader among them."""
    owner: str
    """Host of its owner, "" for an unknown one."""


def run(argv: Sequence[str]) -> int:
    """Move what is to be moved, one log after the other. Raises `StartError`."""
    frame = load_frame("spread", argv, ABOUT, FLAGS, no_options)
    if frame.reach is None:
        raise StartError("logs in PostgreSQL have one leader, its primary: there is nothing to spread")
    said = ask_all(frame.cluster, frame.ids, frame.keys)
    try:
        return ask(frame.access, partial(_spread, frame, said))
    except UnusableStoreError as error:
        raise StartError(str(error)) from None


async def look_at_leaders(frame: Frame, said: Mapping[str, list[Candidate]], streams: Streams) -> dict[StreamName, Led]:
    """Return where the logs are. Raises `UnusableStoreError` for a broker without a log."""
    found = {}
    for broker_id in frame.ids:
        owner = owner_of(said[broker_id])
        name = await streams.find(frame.cluster.name, broker_id)
        members = (await streams.describe(name)).cluster
        ready = [peer.name for peer in members.replicas if peer.current and not peer.offline]
        found[name] = Led(
            broker_id, members.leader, (*filter(None, [members.leader]), *ready), owner.address.host if owner else ""
        )
    return found


def leaders_for(logs: Sequence[Led]) -> list[str]:
    """Return who should lead each log; the present one where that is as good as another."""
    chosen = [log.leader if log.leader in _fit(log) else "" for log in logs]
    counts = Counter(filter(None, chosen))
    for number, log in enumerate(logs):
        if not chosen[number]:
            chosen[number] = min(_fit(log), key=lambda server: (counts[server], server), default=log.leader)
            counts[chosen[number]] += 1
    while (found := _better(logs, chosen, counts)) is not None:
        number, server = found
        counts[chosen[number]] -= 1
        counts[server] += 1
        chosen[number] = server
    return chosen


def _better(logs: Sequence[Led], chosen: list[str], counts: Counter[str]) -> tuple[int, str] | None:
    """Return a log, by its number, and a server that leads at least two fewer than the one that it is meant for."""
    for number, log in enumerate(logs):
        for server in _fit(log):
            if counts[chosen[number]] - counts[server] >= 2:
                return number, server
    return None


def _fit(log: Led) -> list[str]:
    """Return the servers that may lead a log, those on the host of its owner only where there is no other."""
    return [server for server in log.ready if server != log.owner] or list(log.ready)


async def _spread(frame: Frame, said: Mapping[str, list[Candidate]], streams: Streams) -> int:
    logs = await look_at_leaders(frame, said, streams)
    code = 0
    for (name, log), leader in zip(logs.items(), leaders_for(list(logs.values())), strict=True):
        if not log.leader:
            print(f"{log.broker}: has no leader now, or one copy only", flush=True)
            code = 1
        elif leader == log.leader:
            print(f"{log.broker}: led by {leader}", flush=True)
        elif await _move(streams, name, leader):
            print(f"{log.broker}: led by {leader}, before by {log.leader}", flush=True)
        else:
            print(f"{log.broker}: {leader} did not become its leader within {PATIENCE_S:.0f} s", flush=True)
            code = 1
    return code


async def _move(streams: Streams, name: StreamName, leader: str) -> bool:
    until = time.monotonic() + PATIENCE_S
    await streams.move_leader(name, leader)
    while (await streams.describe(name)).cluster.leader != leader:
        if time.monotonic() > until:
            return False
        await asyncio.sleep(POLL_S)
    return True
