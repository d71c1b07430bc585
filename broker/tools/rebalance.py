"""`python -m broker.tools.rebalance COMMAND` (`bin/rebalance`): moves slots between running brokers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from broker.tools import rebalance_abandon, rebalance_control, rebalance_plan, rebalance_run, rebalance_status
from common.command_line import Parser
from common.process.start import INTERRUPTED, run_main
from common.program import launcher

PROG = "rebalance"
COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "plan": (rebalance_plan.run, rebalance_plan.HELP),
    "run": (rebalance_run.run, rebalance_run.HELP),
    "status": (rebalance_status.run, rebalance_status.HELP),
    "pause": (rebalance_control.pause, rebalance_control.PAUSE_HELP),
    "resume": (rebalance_control.resume, rebalance_control.RESUME_HELP),
    "abort": (rebalance_control.abort, rebalance_control.ABORT_HELP),
    "abandon": (rebalance_abandon.run, rebalance_abandon.HELP),
}


def main() -> int:
    """Run a command. Raises `StartError`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        return COMMANDS[name][0](arguments)
    about = "Move slots, and the topics in them, between running brokers (--store sqlite or replicated)."
    parser = Parser(about, ["plan --add b4", "run --add b4"], PROG, usage=f"{launcher(PROG)} COMMAND ...")
    commands = parser.add_subparsers(title="commands", prog=launcher(PROG), metavar="COMMAND", required=True)
    for each, (_, text) in COMMANDS.items():
        commands.add_parser(each, help=text, description="")
    parser.parse_args([name])
    return 0


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
