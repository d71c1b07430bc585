"""`python -m broker.tools.restore COPY DATA` (`bin/restore`): put copies where brokers find them.

Every copy is checked before anything is written. An existing store, or a part of one, is never replaced. A restored
store has a new id, so ids of messages published after the copy are never assigned again: old cursors fail with
cursor-lost, old receipts with lease-lost.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import NamedTuple

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
from broker.store.sqlite.slot_tables import UNPROVEN
from broker.tools.checking import check as check_store
from common.command_line import Parser
from common.errors import StartError
from common.process.folders import private_dir
from common.process.locks import lock_file, lock_to_look
from common.process.start import INTERRUPTED, run_main
from common.program import launcher

PROG = "restore"
ABOUT = (
    "Put copies where brokers find them. Every copy is checked before anything is written, and an existing store is "
    "never replaced. A restored store has a new id: ids of messages that were published after the copy are never "
    "assigned again, so that old cursors fail with cursor-lost and old receipts with lease-lost."
)


class Target(NamedTuple):
    """Where a copy goes."""

    path: Path
    store_id: str

    @property
    def partial(self) -> Path:
        """Return its name until all copies are complete, which no broker takes for a store."""
        return self.path.with_name(FILE + ".part")


def main() -> int:
    """Restore all copies.

    Raises `StartError`; where a copy is damaged or a store exists, nothing was written. Where it fails or is killed
    later, a broker whose copy is not in place does not start.
    """
    arguments = _arguments()
    source, data = Path(arguments.copy), Path(arguments.data)
    copies = sorted(source.glob(f"*/{FILE}"))
    if not copies:
        raise StartError(f"{source}: no copy of a store in it ({FILE} in a folder per broker)")
    try:
        for each in sorted(source.iterdir()):
            if traces(each / FILE) and not (each / FILE).exists():
                raise StartError(describe_missing(each / FILE))
        for each in copies:
            check(each, data / each.parent.name / FILE)
        targets = {each: prepare(data / each.parent.name) for each in copies}
        for copy, target in targets.items():
            clone_store(copy, target.partial, target.store_id, {} if arguments.force else {UNPROVEN: 1})
        for copy, target in targets.items():
            target.partial.replace(target.path)
            sync(target.path)
            print(f"{copy} -> {target.path}", flush=True)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"{error.filename or data}: {error.strerror}") from None
    return 0


def _arguments() -> argparse.Namespace:
    parser = Parser(ABOUT, ["/backups/monday /var/lib/fanmail2"], PROG)
    parser.add_argument("copy", metavar="COPY", help=f"directory made by {launcher('backup')}")
    parser.add_argument("data", metavar="DATA", help="the --data directory of the brokers, which must be stopped")
    parser.add_argument(
        "--force",
        action="store_true",
        help="let brokers serve at once all slots that the copies name, although some may have moved since; without it "
        "they ask all brokers of the cluster first, and do not serve slots that are elsewhere by now",
    )
    arguments: argparse.Namespace = parser.parse_args(sys.argv[1:])
    return arguments


def check(copy: Path, path: Path) -> None:
    """Check a copy and its target.

    Raises `StartError` or `UnusableStoreError` where the copy is damaged or in use, or the target exists: SQLite would
    take a log that was left there for a part of the copy.
    """
    lock_to_look(copy.with_name(LOCK))
    with inspect(copy) as inspection:
        damage = check_store(inspection)
    if damage:
        print(f"{PROG}: {copy}: {damage}; a broker serves the rest", file=sys.stderr)
    for there in database_files(path):
        what = "a store" if there == path else "a file of a former store"
        raise StartError(f"{there}: {what} exists already; it is not replaced: move it away first")


def prepare(folder: Path) -> Target:
    """Lock the folder and write the id of the store to be there; from now on no broker begins an empty one."""
    target = Target(private_dir(folder, "store directory") / FILE, secrets.token_hex(4))
    lock_file(target.path.with_name(LOCK))
    remove_database(target.partial)
    target.path.with_name(DAMAGE_MARKER).unlink(missing_ok=True)  # it is about a former store
    write_store_id(target.path.parent, target.store_id)
    return target


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
