"""`python -m broker.tools.rebalance COMMAND` (`bin/rebalance`): moves slots between running brokers."""

from __future__ import annotations

from broker.tools import (
    rebalance_abandon,
    rebalance_control,
    rebalance_drop,
    rebalance_plan,
    rebalance_run,
    rebalance_status,
)
from broker.tools.subcommands import Commands, run_command
from common.process.start import INTERRUPTED, run_main

PROG = "rebalance"
COMMANDS: Commands = {
    "plan": (rebalance_plan.run, rebalance_plan.HELP),
    "run": (rebalance_run.run, rebalance_run.HELP),
    "status": (rebalance_status.run, rebalance_status.HELP),
    "pause": (rebalance_control.pause, rebalance_control.PAUSE_HELP),
    "resume": (rebalance_control.resume, rebalance_control.RESUME_HELP),
    "abort": (rebalance_control.abort, rebalance_control.ABORT_HELP),
    "drop": (rebalance_drop.run, rebalance_drop.HELP),
    "abandon": (rebalance_abandon.run, rebalance_abandon.HELP),
}


def main() -> int:
    """Run a command. Raises `StartError`."""
    about = "Move slots, and the topics in them, between running brokers (--store sqlite or replicated)."
    return run_command(PROG, about, ["plan --add b4", "run --add b4"], COMMANDS)


if __name__ == "__main__":
    run_main(main, PROG, INTERRUPTED)
