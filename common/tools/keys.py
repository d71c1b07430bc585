"""`python -m common.tools.keys`, run by `bin/keys`: make keys; each kind is a subcommand in a module of its own."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from common.errors import StartError
from common.process.start import run_main
from common.tools import new_api_key, new_curve_keys
from common.version import add_version

PROG = "keys"
COMMANDS = (new_api_key.add_command, new_curve_keys.add_command)
"""Each adds its subcommand, and sets `run`: options -> exit code."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise StartError(f"{self.prog}: {message}")


def main() -> int:
    """Run a subcommand. Raises `StartError`."""
    parser = _Parser(prog=PROG, description="Make keys.", allow_abbrev=False)
    add_version(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    options = parser.parse_args(sys.argv[1:])
    return int(options.run(options))


if __name__ == "__main__":
    run_main(main, PROG)
