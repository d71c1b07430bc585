"""`python -m broker.tools.restore COPY DATA`, which is `bin/restore`: puts copies where brokers find them.

Every copy is checked before anything is written; a store that is there already, or a part of one, is never replaced. A
restored store has a new id: ids of messages that were published after the copy was made are never given out again, so
old cursors are `cursor-lost` and old receipts `lease-lost`.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import NamedTuple

import configargparse

from broker.errors import UnusableStoreError
from broker.store.sqlite.clone import clone_store
from broker.store.sqlite.files import (
    DAMAGE_MARKER,
    FILE,
    LOCK,
    database_files,
    describe_missing,
    remove_database,
    sync,
    traces,
    write_store_id,
)
from broker.store.sqlite.inspection import inspect
from broker.tools.checking import check as check_store
from common.errors import StartError
from common.process.folders import private_dir
from common.process.locks import lock_file, lock_to_look
from common.process.start import INTERRUPTED, run_main
from common.version import add_version

PROG = "restore"


class Target(NamedTuple):
    """Where a copy goes."""

    path: Path
    store_id: str

    @property
    def half(self) -> Path:
        """Its name until all copies are complete, which no broker takes for a store."""
        return self.path.with_name(FILE + ".part")


def main() -> int:
    """Raises `StartError`: where a copy is not whole or a store is there already, nothing was written. Where it fails
    or is killed later, a broker whose copy is not in its place does not start.
    """
    parser = configargparse.ArgumentParser(prog=PROG, description=(__doc__ or "").split("\n\n")[1])
    add_version(parser)
    parser.add_argument("copy", metavar="COPY", help="directory that bin/backup made")
    parser.add_argument("data", metavar="DATA", help="the --data of the brokers, which must not run")
    arguments = parser.parse_args(sys.argv[1:])
    source, data = Path(arguments.copy), Path(arguments.data)
    copies = sorted(source.glob(f"*/{FILE}"))
    if not copies:
        raise StartError(f"{source}: there is no copy of a store ({FILE} in a folder for each broker)")
    try:
        for each in sorted(source.iterdir()):
            if traces(each / FILE) and not (each / FILE).exists():
                raise StartError(describe_missing(each / FILE))
        for each in copies:
            check(each, data / each.parent.name / FILE)
        targets = {each: prepare(data / each.parent.name) for each in copies}
        for copy, target in targets.items():
            clone_store(copy, target.half, target.store_id)
        for copy, target in targets.items():
            target.half.replace(target.path)
            sync(target.path)
            print(f"{copy} -> {target.path}", flush=True)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"{error.filename or data}: {error.strerror}") from None
    return 0


def check(copy: Path, path: Path) -> None:
    """Raises `StartError` or `UnusableStoreError` where the copy is not whole or in use, or there is something already:
    SQLite would take a log that was left for a part of the copy.
    """
    lock_to_look(copy.with_name(LOCK))
    with inspect(copy) as inspection:
        damage = check_store(inspection)
    if damage:
        print(f"{PROG}: {copy}: {damage}; a broker serves the others", file=sys.stderr)
    for there in database_files(path):
        what = "a store" if there == path else "what belongs to a store that was here"
        raise StartError(f"{there}: there is {what} already; it is not replaced: move it away first")


def prepare(folder: Path) -> Target:
    """Locks the folder and marks it with the id of the store to be: from now on no broker begins an empty one there."""
    target = Target(private_dir(folder, "store directory") / FILE, secrets.token_hex(4))
    lock_file(target.path.with_name(LOCK))
    remove_database(target.half)
    target.path.with_name(DAMAGE_MARKER).unlink(missing_ok=True)  # it tells of the store that was here
    write_store_id(target.path.parent, target.store_id)
    return target


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
