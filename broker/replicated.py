"""Opens the store of a candidate of a replicated log. A composition root, as `broker/__main__.py`."""

from __future__ import annotations

import logging
import os
import select
import time
from functools import partial
from pathlib import Path

from broker.errors import LeftOutError, ReplicaError, StoreError, UnusableStoreError
from broker.replica.engine.base import Engine
from broker.replica.engine.names import StreamName
from broker.replica.entry import Genesis, Kind, decode_entry, said
from broker.replica.limits import ReplicaLimits
from broker.replica.log import Entries, Log, Lost, Missing
from broker.replica.space import SpaceThresholds
from broker.replica.store import Identity, ReplicaStore
from broker.store.base import Owner
from broker.store.sqlite.files import FILE, LEFT_OUT
from broker.store.sqlite.log_state import LogStateStore
from broker.store.sqlite.read_only import probe_store
from broker.store_settings import uses_postgres
from broker.tools.candidates import find_owner
from broker.tools.seeding import seed
from common.clock import boottime_s, stopwatch
from common.cluster.slots import ClusterMap
from common.config import BrokerSettings
from common.errors import FanmailError, StartError
from common.keys.curve import check_front, front_pair
from common.units import MIB

log = logging.getLogger("fanmail.broker")

ENTRY_MARGIN = MIB - 64 * 1024
"""Bytes that the changes of one request may have beyond the largest body."""
GENESIS_S = 30.0
"""How long a new candidate waits for the first entry of its log."""


def prepare(settings: BrokerSettings) -> Engine:
    """Return how the logs are reached, checked as far as that is possible without a server. Raises `StartError`."""
    if uses_postgres(settings):  # nobody needs the modules of the other engine
        from broker.replica.postgres.access import access_of as postgres_access
        from broker.replica.postgres.engine import Postgres

        return Postgres(postgres_access(settings))
    from broker.replica.jetstream.access import access_of
    from broker.replica.jetstream.engine import JetStream

    return JetStream(access_of(settings))


def open_replica(
    settings: BrokerSettings, cluster: ClusterMap, engine: Engine, folder: Path, owner: Owner
) -> ReplicaStore:
    """Open the store of this candidate, whose folder is locked, and follow its log.

    An existing store is opened without the log. One that has been left out, or a new one to a log that is not whole,
    begins with the state of the owner. Raises `StartError`, and `StoreError` where another attempt may succeed.
    """
    if not (folder / LEFT_OUT).exists():
        try:
            return _open(settings, cluster, engine, folder, owner)
        except LeftOutError:
            (folder / LEFT_OUT).touch()
    _seed(settings, cluster, folder)
    return _open(settings, cluster, engine, folder, owner)


def _seed(settings: BrokerSettings, cluster: ClusterMap, folder: Path) -> None:
    """Replace the store of this candidate by that of the owner. Raises `ReplicaError`; then it is as it was."""
    try:
        keys = front_pair(settings.curve_dir)
        check_front(keys, cluster)
        source = find_owner(cluster, settings.id, keys)
        position = seed(cluster, keys, source, folder / FILE, replace=True)
        (folder / LEFT_OUT).unlink()
    except (FanmailError, StartError) as error:
        reason = getattr(error, "detail", "") or str(error)
        raise ReplicaError(f"this candidate needs the state of the owner, and does not get it: {reason}") from None
    log.info("seeded", extra={"source": source.name, "position": position})


def _open(settings: BrokerSettings, cluster: ClusterMap, engine: Engine, folder: Path, owner: Owner) -> ReplicaStore:
    try:
        found = probe_store(folder / FILE)
        if found is not None and not found.log_id:
            raise StartError(f"{folder / FILE}: not the store of a candidate: bin/replica import makes logs of stores")
        name = _find(settings, cluster, engine) if found is None else _name_of(cluster, settings, found.log_id)
        max_batch = max(settings.max_body, settings.max_batch)
        stream = engine.open(name, settings.candidate, max_batch, settings.log_replicas)
        try:
            store_id = _genesis(stream, owner).store_id if found is None else ""
        except StoreError:
            stream.close()
            raise
        file = LogStateStore(folder, owner, store_id, settings.disk_reserve, name.log_id.hex(), stopwatch)
        who = identity_of(settings, cluster, owner, name.log_id, file.store_id)
        return ReplicaStore(stream, file, who, limits_of(settings))
    except (ReplicaError, StartError):
        raise
    except UnusableStoreError as error:
        raise StartError(str(error)) from None


def identity_of(settings: BrokerSettings, cluster: ClusterMap, owner: Owner, log_id: bytes, store_id: str) -> Identity:
    """Return who this candidate is."""
    me = cluster.address(settings.id, settings.candidate).name
    others = tuple(each.name for each in cluster.candidates(settings.id) if each.name != me)
    genesis = Genesis(owner.cluster, owner.broker, store_id)
    return Identity(genesis, log_id, me, others, partial(os.urandom, 16), boottime_s, _wall_ms)


def limits_of(settings: BrokerSettings) -> ReplicaLimits:
    """Return the numbers that follow from the settings."""
    entry_bytes = max(settings.max_body, settings.max_batch) + ENTRY_MARGIN
    return ReplicaLimits(entry_bytes, space=SpaceThresholds(keep_s=settings.log_keep))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _name_of(cluster: ClusterMap, settings: BrokerSettings, log_id: str) -> StreamName:
    return StreamName(cluster.name, settings.id, bytes.fromhex(log_id))


def _find(settings: BrokerSettings, cluster: ClusterMap, engine: Engine) -> StreamName:
    """Return the log of this broker. Raises `StoreError`: the log may be made, or a server started, a little later."""
    try:
        return engine.find(cluster.name, settings.id)
    except (StartError, UnusableStoreError) as error:
        raise ReplicaError(str(error)) from None


def _genesis(stream: Log, owner: Owner) -> Genesis:
    """Return what the log says of itself. Raises `StoreError`."""
    stream.read(1)
    until = boottime_s() + GENESIS_S
    while (left_s := until - boottime_s()) > 0:
        select.select([stream.fileno], [], [], left_s)
        for event in stream.events():
            if isinstance(event, Lost):
                raise ReplicaError(event.reason)
            if isinstance(event, Missing) and event.first <= 1:
                raise ReplicaError("the log is empty: it is being made, or was lost")
            if isinstance(event, Missing):
                raise LeftOutError("the log does not have its first entry any more: seed this candidate")
            if isinstance(event, Entries):
                return _checked(event.entries[0][1], owner)
    raise ReplicaError("the log has not answered")


def _checked(data: bytes, owner: Owner) -> Genesis:
    entry = decode_entry(1, data)
    genesis = said(entry) if entry.kind is Kind.GENESIS else None
    if not isinstance(genesis, Genesis) or (genesis.cluster, genesis.broker) != owner:
        raise StoreError(f"the log belongs to {genesis}, and not to broker {owner.broker} of cluster {owner.cluster}")
    return genesis
