"""Opens the store that the settings name. A composition root, as `broker/__main__.py`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from broker.errors import LeftOutError, ReplicaError, UnusableStoreError
from broker.store.base import Owner, Store
from broker.store.memory import MemoryStore
from broker.store.sqlite.files import LEFT_OUT, LOCK
from broker.store_settings import check_store_settings
from common.clock import stopwatch
from common.cluster.slots import ClusterMap
from common.config import BrokerSettings
from common.errors import StartError
from common.process.folders import private_dir
from common.process.locks import hold_lock

OpenStore = Callable[[Path, Owner, str, int, Callable[[], int]], Store]


def open_store(settings: BrokerSettings, cluster: ClusterMap, durable: OpenStore | None = None) -> Store:
    """Open the store that the settings name and lock its folder.

    Raises `StartError`, and `StoreError` where another attempt may succeed.
    """
    check_store_settings(settings)
    new_id = secrets.token_hex(4)
    if settings.store == "memory":
        return MemoryStore(new_id)
    folder, owner = Path(settings.data) / settings.id, owner_of(cluster, settings.id)
    # A broker in memory starts without any of these modules.
    if settings.store == "replicated":
        from broker.replicated import open_replica, prepare

        engine = prepare(settings)
        hold_lock(private_dir(folder, "store directory") / LOCK, settings.start_timeout)
        return open_replica(settings, cluster, engine, folder, owner)
    hold_lock(private_dir(folder, "store directory") / LOCK, settings.start_timeout)
    from broker.store.sqlite.store import SqliteStore

    try:
        return (durable or SqliteStore)(folder, owner, new_id, settings.disk_reserve, stopwatch)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None


def was_left_out(settings: BrokerSettings, error: ReplicaError) -> bool:
    """Return whether the log does not have what this candidate needs; its next process asks the owner for its state."""
    if isinstance(error, LeftOutError):
        (Path(settings.data) / settings.id / LEFT_OUT).touch()
    return isinstance(error, LeftOutError)


def owner_of(cluster: ClusterMap, broker_id: str) -> Owner:
    """Return the identity that the store of a broker must have."""
    return Owner(cluster.name, broker_id)
