"""`bin/replica import`: makes replicated brokers of stopped brokers with SQLite stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.store.sqlite.files import FILE
from broker.tools.log_origin import begin_log, check_stopped, read_origin
from broker.tools.replica_frame import LOG_FLAGS, data_folder, load_frame
from common.command_line import About
from common.errors import StartError

HELP = "make replicated brokers of stopped brokers with SQLite stores"
ABOUT = About(
    "Make the logs of brokers from the stores of the same brokers with --store sqlite, which are stopped and not "
    "changed. Ids, cursors and receipts stay valid. Call it on the host of one candidate of each broker (--ids names "
    "them), start these candidates, and seed the others. The way back is bin/backup and bin/restore.",
    ("/var/lib/old --data /var/lib/fanmail --config cluster.toml --ids b0,b3",),
    "OLD",
)
FLAGS = ("data", "ids", *LOG_FLAGS, "log_max_bytes", "log_replicas")


def run(argv: Sequence[str]) -> int:
    """Import all that are named. Raises `StartError`; those that were printed are imported then."""
    frame = load_frame("import", argv, ABOUT, FLAGS, _options)
    old = Path(frame.options.old).absolute()
    origins = []
    for broker_id in frame.ids:
        path = old / broker_id / FILE
        if not path.exists():
            raise StartError(f"{path}: there is no store")
        check_stopped(frame, broker_id)
        origin = read_origin(path, frame, broker_id)
        if origin.log_id:
            raise StartError(f"{path}: the store of a candidate (log {origin.log_id}): bin/replica relog is for that")
        origins.append((broker_id, origin))
    for broker_id, origin in origins:
        name = begin_log(frame, origin, data_folder(frame.settings, broker_id), origin.store_id, discard=False)
        print(f"{broker_id}: {name} begins with {origin.path}", flush=True)
    return 0


def _options(parser: Any) -> None:
    parser.add_argument("old", metavar="OLD", help="the --data directory of the stopped brokers")
