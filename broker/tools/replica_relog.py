"""`bin/replica relog`: begins a new log with the state of a store: the log is lost, or a backup is to be restored."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.store.sqlite.files import FILE
from broker.tools.log_origin import begin_log, check_stopped, read_origin
from broker.tools.replica_frame import LOG_FLAGS, add_broker, data_folder, load_frame
from common.command_line import About
from common.errors import StartError

HELP = "begin a new log with the state of a store: the log is lost, or a backup is restored"
ABOUT = About(
    "Begin a new log of a broker with the state of one store: that of a stopped candidate, in --data, or a copy, with "
    "--from. Use the one that has read most of the old log (it is printed). The old log, if there is one, is removed. "
    "Topics get new epochs: ids of messages that this store has never seen are not assigned again, so that old cursors "
    "fail with cursor-lost and old receipts with lease-lost. Stop both candidates first, and seed the other one then.",
    (
        "b0 --data /var/lib/fanmail --config cluster.toml",
        "b0 --from /backups/monday --data /var/lib/fanmail --config cluster.toml",
    ),
    "BROKER",
)
FLAGS = ("data", *LOG_FLAGS, "log_max_bytes", "log_replicas")


def run(argv: Sequence[str]) -> int:
    """Begin a new log. Raises `StartError`."""
    frame = load_frame("relog", argv, ABOUT, FLAGS, _options)
    (broker_id,) = frame.ids
    folder = data_folder(frame.settings, broker_id)
    source = Path(frame.options.source).absolute() / broker_id if frame.options.source else folder
    if not (source / FILE).exists():
        raise StartError(f"{source / FILE}: there is no store")
    check_stopped(frame, broker_id)
    origin = read_origin(source / FILE, frame, broker_id)
    stands = (
        f"position {origin.at.position}, term {origin.at.term} of log {origin.log_id}" if origin.log_id else "no log"
    )
    print(f"{broker_id}: {origin.path} stands at {stands}", flush=True)
    name = begin_log(frame, origin, folder, secrets.token_hex(4), frame.options.discard)
    print(f"{broker_id}: {name} begins with it: start this candidate, and seed the other one")
    return 0


def _options(parser: Any) -> None:
    add_broker(parser)
    parser.add_argument("--from", dest="source", metavar="COPY", default="", help="directory made by bin/backup")
    parser.add_argument("--discard", action="store_true", help="give up what only the old log has")
