"""`python -m broker.tools.backup TARGET`, which is `bin/backup`: a consistent copy of the stores of running brokers.

Each broker copies its store through its own connection, in steps between the bursts, beside the store; the copy is
moved to the target when it is whole and synced. The brokers go on serving meanwhile. A broker removes a copy that
nobody asks for any more, so this may be killed at any time.
"""

from __future__ import annotations

import errno
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from broker.store.sqlite.files import FILE, database_files, remove_database, sync
from broker.tools.control import Control
from common import config_sources
from common.cluster.description import description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.config import StartBrokersSettings
from common.errors import FanmailError, StartError
from common.keys.curve import KeyPair, check_front, front_pair
from common.process.start import INTERRUPTED, run_main
from common.protocol import ops
from common.protocol.ops import Op

PROG = "backup"
POLL = 0.05
"""Seconds between two looks at how far a copy is."""


def positional(parser: Any) -> None:
    """Adds TARGET to the command line."""
    parser.add_argument("target", metavar="TARGET", help="directory that gets a folder for each broker")


def main() -> int:
    """Copies the stores of the brokers that `--ids` names, or of all. Raises `StartError`."""
    settings, arguments = config_sources.load(StartBrokersSettings, PROG, sys.argv[1:], positional)
    cluster = load_cluster(description_path(settings), insecure=settings.insecure)
    keys = front_pair(settings.curve_dir)
    check_front(keys, cluster)
    target = Path(arguments.target).absolute()
    ids = list(dict.fromkeys(settings.ids)) or [broker.id for broker in cluster.brokers]
    for broker_id in ids:
        for there in database_files(target / broker_id / FILE):
            raise StartError(f"{there}: there is a copy already, or a part of one")
    try:
        for broker_id in ids:
            _move(make_copy(cluster, broker_id, keys), target / broker_id)
            print(f"{broker_id}: {target / broker_id / FILE}", flush=True)
    except FanmailError as error:
        raise StartError(f"broker {broker_id}: {error.detail or error.code}") from None
    return 0


def make_copy(cluster: ClusterMap, broker_id: str, keys: KeyPair | None) -> Path:
    """Where the broker has put a copy of its store. Raises `FanmailError`, and what `Control` raises."""
    name = f"backup-{secrets.token_hex(8)}.db"
    with Control(cluster, broker_id, keys) as control, tqdm(desc=broker_id, unit="page", unit_scale=True) as bar:
        control.check()
        while True:
            progress: ops.BackupProgress = control.ask(Op.BACKUP, ops.Backup(name))
            bar.total = progress.pages
            bar.update(progress.copied - bar.n)
            if progress.done:
                return Path(progress.path)
            time.sleep(POLL)


def _move(copy: Path, folder: Path) -> None:
    """Durably, also to another file system; a half-made target is never named like a whole one. The broker may remove
    the copy meanwhile, if that takes long: what is open can be read to its end.
    """
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        half = folder / (FILE + ".part")
        remove_database(half)
        try:
            copy.rename(half)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(copy, half)
            copy.unlink(missing_ok=True)
        sync(half)
        half.replace(folder / FILE)
        sync(folder / FILE)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}; the copy is {copy} until the broker removes it") from None


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
