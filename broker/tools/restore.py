"""`python -m broker.tools.restore COPY DATA`, which is `bin/restore`: puts copies where brokers find them.

Every copy is checked before anything is written; a store that is there already is never replaced. A restored store has
a new id: ids of messages that were published after the copy was made are never given out again, so old cursors are
`cursor-lost` and old receipts `lease-lost`.
"""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path

import configargparse

from broker.store.base import UnusableStoreError
from broker.store.files import FILE, LOCK, sync
from broker.store.inspection import begin_anew, check_file
from common.errors import StartError
from common.process import run_main
from common.run_dir import lock_file, private_dir

PROG = "restore"


def main() -> int:
    """Raises `StartError`: where a copy is not whole or a store is there already, nothing was written."""
    parser = configargparse.ArgumentParser(prog=PROG, description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("copy", metavar="COPY", help="directory that bin/backup made")
    parser.add_argument("data", metavar="DATA", help="the --data of the brokers, which must not run")
    arguments = parser.parse_args(sys.argv[1:])
    source, data = Path(arguments.copy), Path(arguments.data)
    copies = sorted(source.glob(f"*/{FILE}"))
    if not copies:
        raise StartError(f"{source}: there is no copy of a store ({FILE} in a folder for each broker)")
    for each in copies:
        try:
            check_file(each)
        except UnusableStoreError as error:
            raise StartError(str(error)) from None
        if (data / each.parent.name / FILE).exists():
            raise StartError(f"{data / each.parent.name / FILE}: there is a store already; it is not replaced")
    for each in copies:
        _put(each, private_dir(data / each.parent.name, "store directory"))
    return 0


def _put(copy: Path, folder: Path) -> None:
    lock_file(folder / LOCK)
    half = folder / (FILE + ".part")
    try:
        shutil.copyfile(copy, half)
        begin_anew(half, secrets.token_hex(4))
        sync(half)
        half.replace(folder / FILE)
        sync(folder / FILE)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}") from None
    print(f"{copy} -> {folder / FILE}", flush=True)


if __name__ == "__main__":
    run_main(main, PROG)
