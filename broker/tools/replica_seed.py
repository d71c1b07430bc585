"""`bin/replica seed`: gives a new or left-out candidate the state of the owner, from which it follows the log."""

from __future__ import annotations

from collections.abc import Sequence

from broker.store.sqlite.files import LEFT_OUT
from broker.tools.candidates import find_owner
from broker.tools.replica_frame import add_broker, data_folder, load_frame, locked_folder
from broker.tools.seeding import seed
from common.command_line import About
from common.errors import FanmailError, StartError

HELP = "copy the state of the owner to a new or left-out candidate"
ABOUT = About(
    "Copy the state of the running owner of a broker to the --data directory of its other candidate; call it on the "
    "host of that one. It must be stopped, and have no store: move a former one away. When it is started, it follows "
    "the log from where the copy ends. A candidate that reaches the owner does this by itself where the log does not "
    "have what it needs.",
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
        with locked_folder(folder) as path:
            position = seed(frame.cluster, frame.keys, owner, path)
            path.with_name(LEFT_OUT).unlink(missing_ok=True)
    except FanmailError as error:
        raise StartError(f"broker {broker_id}: {error.detail or error.code}") from None
    print(f"{me.name}: has the state of {owner.name} at position {position}: start it")
    return 0
