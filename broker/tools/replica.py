"""`python -m broker.tools.replica COMMAND` (`bin/replica`): the replicated logs of brokers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from broker.tools import replica_doctor, replica_init, replica_status
from common.command_line import Parser
from common.process.start import INTERRUPTED, run_main
from common.program import launcher

PROG = "replica"
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "init": replica_init.run,
    "status": replica_status.run,
    "doctor": replica_doctor.run,
}
HELP = {"init": replica_init.HELP, "status": replica_status.HELP, "doctor": replica_doctor.HELP}


def main() -> int:
    """Run a command. Raises `StartError`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        return COMMANDS[name](arguments)
    about = "Make, look at and repair the replicated logs of brokers (--store replicated)."
    parser = Parser(about, ["init --nats nats://h1:4222,nats://h2:4222"], PROG, usage=f"{launcher(PROG)} COMMAND ...")
    commands = parser.add_subparsers(title="commands", prog=launcher(PROG), metavar="COMMAND", required=True)
    for each, text in HELP.items():
        commands.add_parser(each, help=text, description="")
    parser.parse_args([name])
    return 0


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
