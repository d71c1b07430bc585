"""`python -m broker.tools.replica COMMAND` (`bin/replica`): the replicated logs of brokers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from broker.tools import (
    replica_doctor,
    replica_handover,
    replica_import,
    replica_init,
    replica_relog,
    replica_seed,
    replica_status,
)
from common.command_line import Parser
from common.process.start import INTERRUPTED, run_main
from common.program import launcher

PROG = "replica"
COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "init": (replica_init.run, replica_init.HELP),
    "status": (replica_status.run, replica_status.HELP),
    "doctor": (replica_doctor.run, replica_doctor.HELP),
    "handover": (replica_handover.run, replica_handover.HELP),
    "seed": (replica_seed.run, replica_seed.HELP),
    "relog": (replica_relog.run, replica_relog.HELP),
    "import": (replica_import.run, replica_import.HELP),
}


def main() -> int:
    """Run a command. Raises `StartError`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        return COMMANDS[name][0](arguments)
    about = "Make, look at and repair the replicated logs of brokers (--store replicated)."
    parser = Parser(about, ["init --nats nats://h1:4222,nats://h2:4222"], PROG, usage=f"{launcher(PROG)} COMMAND ...")
    commands = parser.add_subparsers(title="commands", prog=launcher(PROG), metavar="COMMAND", required=True)
    for each, (_, text) in COMMANDS.items():
        commands.add_parser(each, help=text, description="")
    parser.parse_args([name])
    return 0


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
