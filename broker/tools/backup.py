"""`python -m broker.tools.backup TARGET` (`bin/backup`): make a consistent copy of the stores of running brokers.

Each broker copies its store through its own connection, in steps between the bursts, to a file beside the store. The
copy is moved to the target when it is complete and synced; that of a broker on a replicated log is fetched from its
owner. The brokers continue to serve meanwhile. A broker removes a
copy that no client asks for, so this may be killed at any time.
"""

from __future__ import annotations

import errno
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from broker.store.sqlite.files import FILE, database_files, remove_database, sync
from broker.tools.candidates import find_owner
from broker.tools.control import Control
from broker.tools.fetching import await_copy, fetch_copy
from broker.tools.running import running_cluster
from common import config_sources
from common.cluster.slots import ClusterMap
from common.command_line import About
from common.config import StartBrokersSettings
from common.errors import FanmailError, StartError
from common.keys.curve import KeyPair
from common.process.start import INTERRUPTED, run_main

PROG = "backup"
ABOUT = About(
    "Make a consistent copy of the durable stores of running brokers, which continue to serve.",
    ("/backups/monday", "/backups/b0 --config cluster.toml --curve-dir keys --ids b0"),
    "TARGET",
)
FLAGS = ("config", "run_dir", "ids", "curve_dir", "insecure")
"""The settings that matter here."""


def positional(parser: Any) -> None:
    """Add TARGET to the command line."""
    parser.add_argument("target", metavar="TARGET", help="directory for the copies, a folder per broker")


def main() -> int:
    """Copy the stores of the brokers that `--ids` names, or of all. Raises `StartError`."""
    settings, arguments = config_sources.load(StartBrokersSettings, PROG, sys.argv[1:], positional, ABOUT, FLAGS)
    _, cluster, keys = running_cluster(settings)
    target = Path(arguments.target).absolute()
    ids = list(dict.fromkeys(settings.ids)) or [broker.id for broker in cluster.brokers]
    for broker_id in ids:
        for there in database_files(target / broker_id / FILE):
            raise StartError(f"{there}: a copy, or a part of one, exists already")
    try:
        for broker_id in ids:
            make_copy(cluster, broker_id, keys, target / broker_id)
            print(f"{broker_id}: {target / broker_id / FILE}", flush=True)
    except FanmailError as error:
        raise StartError(f"broker {broker_id}: {error.detail or error.code}") from None
    return 0


def make_copy(cluster: ClusterMap, broker_id: str, keys: KeyPair | None, folder: Path) -> None:
    """Have a broker make a copy of its store, and put it into a folder, durably. Raises `FanmailError`, `StartError`.

    A broker without candidates runs on this host, and its copy is moved.
    """
    source = find_owner(cluster, broker_id, keys)
    if not source.host:
        name = f"backup-{secrets.token_hex(8)}.db"
        with Control(cluster, broker_id, keys) as control:
            control.check()
            _move(await_copy(control, broker_id, name), folder)
        return
    try:
        partial = _partial(folder)
        fetch_copy(cluster, source, keys, partial)
        partial.replace(folder / FILE)
        sync(folder / FILE)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}") from None


def _move(copy: Path, folder: Path) -> None:
    """Move a copy to its place, durably, also to another file system.

    An incomplete target never has the name of a complete one. The broker may remove the copy meanwhile, if that takes
    long: an open file can be read to its end.
    """
    try:
        partial = _partial(folder)
        try:
            copy.rename(partial)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(copy, partial)
            copy.unlink(missing_ok=True)
        sync(partial)
        partial.replace(folder / FILE)
        sync(folder / FILE)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}; the copy stays in {copy} until the broker removes it") from None


def _partial(folder: Path) -> Path:
    """Return where a copy is until it is complete. Raises `OSError`."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    partial = folder / (FILE + ".part")
    remove_database(partial)
    return partial


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
