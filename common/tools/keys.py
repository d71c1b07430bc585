"""`python -m common.tools.keys`, run by `bin/keys`: make keys; each kind is a subcommand in a module of its own."""

from __future__ import annotations

import sys

from common.command_line import Parser
from common.process.start import run_main
from common.program import launcher
from common.tools import new_api_key, new_curve_keys

PROG = "keys"
COMMANDS = (new_api_key.add_command, new_curve_keys.add_command)
"""Each adds its subcommand, and sets `run`: options -> exit code."""


def main() -> int:
    """Run a subcommand. Raises `StartError`."""
    parser = Parser("Make keys.", ["api shop --allow 'publish topic=*'"], PROG, usage=f"{launcher(PROG)} COMMAND ...")
    commands = parser.add_subparsers(title="commands", prog=launcher(PROG), metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    options = parser.parse_args(sys.argv[1:])
    return int(options.run(options))


if __name__ == "__main__":
    run_main(main, PROG)
