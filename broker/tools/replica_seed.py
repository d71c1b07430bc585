"""`bin/replica seed`: gives a new or left-out candidate the state of the owner, from which it follows the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.errors import UnusableStoreError
from broker.store.sqlite.files import (
    DAMAGE_MARKER,
    FILE,
    database_files,
    remove_database,
    sync,
    write_store_id,
)
from broker.store.sqlite.inspection import inspect
from broker.tools.candidates import find_owner
from broker.tools.fetching import fetch_copy
from broker.tools.replica_frame import Frame, add_broker, data_folder, load_frame, locked_folder
from common.cluster.slots import BrokerAddress
from common.command_line import About
from common.errors import FanmailError, StartError

HELP = "copy the state of the owner to a new or left-out candidate"
ABOUT = About(
    "Copy the state of the running owner of a broker to the --data directory of its other candidate; call it on the "
    "host of that one. It must be stopped, and have no store: move a former one away. When it is started, it follows "
    "the log from where the copy ends.",
    ("b0 --candidate h2 --data /var/lib/fanmail --config cluster.toml",),
    "BROKER",
)


def run(argv: Sequence[str]) -> int:
    """Seed one candidate. Raises `StartError`."""
    frame = load_frame("seed", argv, ABOUT, ("candidate", "data"), add_broker)
    (broker_id,) = frame.ids
    me = frame.cluster.address(broker_id, frame.settings.candidate)
    folder = data_folder(frame.settings, broker_id)
    try:
        owner = find_owner(frame.cluster, broker_id, frame.keys)
        if owner == me:
            raise StartError(f"{me.name} owns the log: only another candidate can be seeded")
        position = seed(frame, owner, folder)
    except FanmailError as error:
        raise StartError(f"broker {broker_id}: {error.detail or error.code}") from None
    print(f"{me.name}: has the state of {owner.name} at position {position}: start it")
    return 0


def seed(frame: Frame, owner: BrokerAddress, folder: Path) -> int:
    """Put a copy of the store of the owner into a folder without one. Return the position at which it stands.

    Raises `FanmailError`, and `StartError` where the candidate runs or has a store.
    """
    with locked_folder(folder) as path:
        return _seed(frame, owner, path)


def _seed(frame: Frame, owner: BrokerAddress, path: Path) -> int:
    for there in database_files(path):
        raise StartError(f"{there}: there is a store already; it is not replaced: move it away first")
    partial = path.with_name(FILE + ".part")
    try:
        remove_database(partial)
        fetch_copy(frame.cluster, owner, frame.keys, partial)
        facts = _facts(partial, owner)
        write_store_id(path.parent, str(facts["store_id"]))
        path.with_name(DAMAGE_MARKER).unlink(missing_ok=True)
        partial.replace(path)
        sync(path)
    except OSError as error:
        raise StartError(f"{error.filename or path}: {error.strerror}") from None
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    return int(facts["applied"])


def _facts(copy: Path, owner: BrokerAddress) -> dict[str, str | int]:
    with inspect(copy) as inspection:
        inspection.check()
        facts = inspection.facts()
    if not facts.get("log"):
        raise StartError(f"{owner.name} has no replicated log")
    return facts
