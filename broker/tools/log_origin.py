"""Begin a new log of a broker from a store: what the store is, and the store that follows the new log."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from broker.errors import ReplicaError, UnusableStoreError
from broker.replica.batch import decode_batch
from broker.replica.engine.logs import Logs
from broker.replica.engine.names import StreamName
from broker.replica.entry import Clocks, Kind, decode_entry
from broker.replica.genesis import after_genesis
from broker.replica.log import StreamInfo
from broker.replica.reader import LogReader, Position
from broker.replica.state_file import facts_of, position_of
from broker.store.sqlite.clone import clone_store
from broker.store.sqlite.files import (
    DAMAGE_MARKER,
    FILE,
    LOCK,
    database_files,
    remove_database,
    sync,
    write_store_id,
)
from broker.store.sqlite.inspection import Inspection, inspect
from broker.store.sqlite.slot_tables import UNPROVEN
from broker.tools.candidates import ask_candidates
from broker.tools.checking import check
from broker.tools.replica_frame import Frame, locked_folder
from broker.tools.replica_init import make_log, new_log
from broker.tools.replica_logs import ask_logs
from common.clock import SystemClock
from common.errors import StartError
from common.process.locks import lock_to_look

LAST_ENTRIES = 64
"""Of an old log, whose terms are looked at: behind a FENCE there may be entries of its former owner."""
UNKNOWN_TERMS = 1000
"""By which the term of a new log is greater where the old log is lost: fronts never go back to a smaller one."""
MOST_READ = 10_000
"""Entries of an old log that are read to see whether any of them has changes."""


class Origin(NamedTuple):
    """A store from which a log begins."""

    path: Path
    store_id: str
    log_id: str
    """Of the log that it has followed; "": it is the store of a broker without one."""
    at: Position
    """Where it stands in that log."""
    clocks: Clocks
    last_delayed: int


def read_origin(path: Path, frame: Frame, broker_id: str) -> Origin:
    """Return what a store is, after reading all of it. Raises `StartError` for one that cannot be used."""
    try:
        with inspect(path) as inspection:
            facts = inspection.facts()
            if (facts.get("cluster"), facts.get("broker")) != (frame.cluster.name, broker_id):
                whose = f"broker {facts.get('broker')} of cluster {facts.get('cluster')}"
                raise StartError(f"{path}: the store of {whose}, not of broker {broker_id} of {frame.cluster.name}")
            if inspection.loader() is None:
                raise StartError(f"{path}: of an older schema: start a broker with --store sqlite on it once")
            damage = check(inspection)
            if damage:
                raise StartError(f"{path}: {damage}: no candidate starts with it")
            at = position_of(facts)
            numbers = (_clocks(inspection, at), int(facts.get("last_delayed") or inspection.last_delayed()))
            return Origin(path, str(facts["store_id"]), str(facts.get("log", "")), at, *numbers)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None


def _clocks(inspection: Inspection, at: Position) -> Clocks:
    if at.position:
        return at.clocks
    mark = inspection.mark()
    now = SystemClock(mark).now()
    return Clocks(now.mono, now.time, now.time + mark.shift)


def check_stopped(frame: Frame, broker_id: str) -> None:
    """Raise `StartError` where a candidate of the broker runs, as far as it can be reached from here."""
    for each in ask_candidates(frame.cluster, broker_id, frame.keys):
        if each.state is not None:
            raise StartError(f"{each.address.name} runs: stop both candidates of broker {broker_id} first")


def begin_log(frame: Frame, origin: Origin, folder: Path, store_id: str, discard: bool) -> StreamName:
    """Make a new log that begins with the state of a store, and put the store that follows it into a folder.

    With another id than the origin's it may be older than what other brokers know: it serves a slot when they have
    named theirs.
    The folder has no store, or the origin, which is kept beside it. What is in a log that the broker has, and not in
    the origin, is lost: without `discard` nothing is changed then. Raises `StartError`; it may be called again.
    """
    with locked_folder(folder) as path:
        if origin.path.parent.resolve() == folder.resolve():
            return _begin(frame, origin, path, store_id, discard)
        handle = lock_to_look(origin.path.with_name(LOCK))
        try:
            for there in database_files(path):
                raise StartError(f"{there}: there is a store already; it is not replaced: move it away first")
            return _begin(frame, origin, path, store_id, discard)
        finally:
            if handle is not None:
                os.close(handle)


def _begin(frame: Frame, origin: Origin, path: Path, store_id: str, discard: bool) -> StreamName:
    folder, broker_id = path.parent, path.parent.name
    kept = folder / f"former-{origin.log_id or origin.store_id}"
    if kept.exists() and origin.path == path:
        raise StartError(f"{folder}: an earlier attempt was interrupted: move {path.name}* away, and use --from {kept}")
    copy = path.with_name(FILE + ".part")
    try:
        former, term = ask_logs(frame, partial(_former_logs, frame, origin, broker_id, discard))
        name, genesis = new_log(frame, broker_id, store_id, origin.clocks, term)
        facts = {**facts_of(after_genesis(name.log_id, genesis)), "log": name.log_id.hex()}
        if store_id != origin.store_id:
            facts[UNPROVEN] = 1
        remove_database(copy)
        clone_store(origin.path, copy, store_id, {**facts, "last_delayed": origin.last_delayed})
        # From here on a candidate with another store stops: its log is gone.
        ask_logs(frame, partial(_replace_logs, frame, former, name, genesis))
        write_store_id(folder, store_id)
        if path.exists():
            _keep(path, kept / broker_id)
        path.with_name(DAMAGE_MARKER).unlink(missing_ok=True)
        copy.replace(path)
        sync(path)
    except (UnusableStoreError, ReplicaError) as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"{error.filename or folder}: {error.strerror}") from None
    return name


async def _former_logs(
    frame: Frame, origin: Origin, broker_id: str, discard: bool, logs: Logs
) -> tuple[list[StreamName], int]:
    """Return the logs that the broker has, and a term that no owner of them has had.

    Raises `StartError` where one has more than the origin.
    """
    found, term = await logs.names(frame.cluster.name, broker_id), origin.at.term
    for name in found:
        info = await logs.look(name, frame.settings.log_replicas)
        term = max(term, *[await _term_at(logs, name, each) for each in range(info.last, 0, -1)[:LAST_ENTRIES]])
        more = info.last > 1
        if name.log_id.hex() == origin.log_id:
            more = await _has_more(logs, name, origin, info)
        if more and not discard:
            raise StartError(
                f"{name} has entries up to {info.last} with changes that {origin.path} does not have: use the "
                "store that has read most, or give up what only the log has with --discard"
            )
    unknown = UNKNOWN_TERMS if origin.log_id and not found else 0
    return found, term + 1 + unknown if origin.log_id or found else 0


async def _term_at(logs: Logs, name: StreamName, position: int) -> int:
    data = await logs.read(name, position)
    try:
        return decode_entry(position, data).term if data else 0
    except ReplicaError:
        return 0  # not of this program; its term is no term of an owner


async def _has_more(logs: Logs, name: StreamName, origin: Origin, info: StreamInfo) -> bool:
    """Return whether a log has changes behind the position at which the origin stands; True where that is not known."""
    behind = range(origin.at.position + 1, info.last + 1)
    if len(behind) > MOST_READ or (behind and info.first > behind[0]):
        return True
    reader = LogReader(name.log_id, origin.at)
    for position in behind:
        data = await logs.read(name, position)
        if data is None:
            return True
        try:
            entry = reader.take(position, data)
            if entry is not None and entry.kind is Kind.BATCH and decode_batch(entry.payload).records:
                return True
        except ReplicaError:
            return True  # it goes on otherwise than the origin
    return False


async def _replace_logs(
    frame: Frame, former: Sequence[StreamName], name: StreamName, genesis: bytes, logs: Logs
) -> None:
    for each in former:
        await logs.delete(each)
    await make_log(frame, logs, name, genesis)


def _keep(path: Path, folder: Path) -> None:
    """Move a store with what belongs to it into a folder, where it is whole at any time."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    for each in database_files(path):
        with suppress(FileExistsError):
            os.link(each, folder / each.name)
    sync(folder / FILE)
    for each in reversed(database_files(path)):
        each.unlink()
    print(f"the former store is kept in {folder}", file=sys.stderr)
