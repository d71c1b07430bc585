"""Put the state of the owner of a replicated log where a candidate finds it."""

from __future__ import annotations

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
from broker.tools.fetching import fetch_copy
from common.cluster.slots import BrokerAddress, ClusterMap
from common.errors import StartError
from common.keys.curve import KeyPair


def seed(cluster: ClusterMap, keys: KeyPair | None, owner: BrokerAddress, path: Path, *, replace: bool = False) -> int:
    """Fetch the store of the owner to `path`, whose folder is locked. Return the position at which it stands.

    Without `replace` there must be none. The former one is removed when the new one is complete; where that is
    interrupted, `LEFT_OUT` must be there, so that it is done again. Raises `FanmailError` and `StartError`.
    """
    if not replace:
        for there in database_files(path):
            raise StartError(f"{there}: there is a store already; it is not replaced: move it away first")
    partial = path.with_name(FILE + ".part")
    try:
        remove_database(partial)
        fetch_copy(cluster, owner, keys, partial, quiet=replace)
        facts = _facts(partial, owner)
        write_store_id(path.parent, str(facts["store_id"]))
        path.with_name(DAMAGE_MARKER).unlink(missing_ok=True)
        remove_database(path)
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
