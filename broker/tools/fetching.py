"""Fetch a copy of the store of a running broker, from wherever it runs."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from broker.store.sqlite.files import sync
from broker.tools.control import Control
from common.cluster.slots import BrokerAddress, ClusterMap
from common.errors import FanmailError
from common.keys.curve import KeyPair
from common.protocol import ops
from common.protocol.ops import Op

PART_BYTES = 2**20
POLL_S = 0.05
"""Interval between two requests for the progress of a copy."""


def fetch_copy(
    cluster: ClusterMap, source: BrokerAddress, keys: KeyPair | None, target: Path, *, quiet: bool = False
) -> None:
    """Have a broker copy its store, and write that copy to a new file, durably.

    Raises `FanmailError`, and `OSError`; then there may be a part of the file.
    """
    name = f"backup-{secrets.token_hex(8)}.db"
    with Control(cluster, source.id, keys, source.host) as control:
        control.check()
        await_copy(control, source.name, name, quiet=quiet)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file, _bar(source.name, "B", quiet) as bar:
            while True:
                part: ops.BackupPart = control.ask(Op.BACKUP_READ, ops.ReadBackup(name, file.tell(), PART_BYTES))
                file.write(part.data)
                bar.total = part.size
                bar.update(len(part.data))
                if file.tell() >= part.size:
                    break
                if not part.data:
                    raise FanmailError("backup-failed", f"the copy ends at {file.tell()} of {part.size} bytes")
    sync(target)


def await_copy(control: Control, broker: str, name: str, *, quiet: bool = False) -> Path:
    """Have a broker copy its store under a name. Return the path there when it is complete. Raises `FanmailError`."""
    with _bar(broker, "page", quiet) as bar:
        while True:
            progress: ops.BackupProgress = control.ask(Op.BACKUP, ops.Backup(name))
            bar.total = progress.pages
            bar.update(progress.copied - bar.n)
            if progress.done:
                return Path(progress.path)
            time.sleep(POLL_S)


def _bar(broker: str, unit: str, quiet: bool) -> Any:
    """Return a progress bar, which only a terminal shows."""
    return tqdm(desc=broker, unit=unit, unit_scale=True, disable=quiet or None, leave=False)
