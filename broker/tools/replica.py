"""`python -m broker.tools.replica COMMAND` (`bin/replica`): the replicated logs of brokers."""

from __future__ import annotations

from broker.tools import (
    replica_doctor,
    replica_handover,
    replica_import,
    replica_init,
    replica_relog,
    replica_seed,
    replica_spread,
    replica_status,
)
from broker.tools.subcommands import Commands, run_command
from common.process.start import INTERRUPTED, run_main

PROG = "replica"
COMMANDS: Commands = {
    "init": (replica_init.run, replica_init.HELP),
    "status": (replica_status.run, replica_status.HELP),
    "doctor": (replica_doctor.run, replica_doctor.HELP),
    "spread": (replica_spread.run, replica_spread.HELP),
    "handover": (replica_handover.run, replica_handover.HELP),
    "seed": (replica_seed.run, replica_seed.HELP),
    "relog": (replica_relog.run, replica_relog.HELP),
    "import": (replica_import.run, replica_import.HELP),
}


def main() -> int:
    """Run a command. Raises `StartError`."""
    about = "Make, look at and repair the replicated logs of brokers (--store replicated)."
    return run_command(PROG, about, ["init --nats nats://h1:4222,nats://h2:4222"], COMMANDS)


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
