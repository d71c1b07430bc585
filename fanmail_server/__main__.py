"""`fanmail-server COMMAND ...`, also `python -m fanmail_server`: run a program of the server.

The wheel carries the application in `fanmail_server/app`. Its packages are imported by their own names from there, in
processes that have this folder first in their path, as in a checkout. So the wheel puts no package called `common` or
`broker` into site-packages.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

NAME = "fanmail-server"
UNUSABLE = 2
_HERE = Path(__file__).resolve().parent


class Command(NamedTuple):
    """A subcommand: the module that it runs, and what `--help` says of it."""

    module: str
    text: str


COMMANDS = {
    "quickstart": Command("common.tools.quickstart", "brokers and fronts on this host, and a tour to paste"),
    "brokers": Command("broker.start", "the brokers of this host, supervised"),
    "fronts": Command("httpfront.start", "the HTTP fronts of this host, supervised"),
    "broker": Command("broker", "a single broker, for a service manager or a container"),
    "front": Command("httpfront", "a single front, for a service manager or a container"),
    "keys": Command("common.tools.keys", "make API keys, and keys for the connections to brokers"),
    "backup": Command("broker.tools.backup", "copy the stores of running brokers"),
    "restore": Command("broker.tools.restore", "put copies where brokers find them"),
    "inspect": Command("broker.tools.inspect", "show what is in stores and whether they are whole"),
    "rebalance": Command("broker.tools.rebalance", "move slots between running brokers"),
    "replica": Command("broker.tools.replica", "make, look at and repair the replicated logs of brokers"),
}
HELP = f"""\
usage: {NAME} COMMAND [ARGUMENT ...]

Fanmail is an HTTP publish/subscribe server with a queue per subscriber.

commands:
{chr(10).join(f"  {name:<12}{each.text}" for name, each in COMMANDS.items())}

options:
  -h, --help  show this help and exit
  --version   print the version and exit

`{NAME} COMMAND --help` lists the settings of a command.

example:
  {NAME} quickstart --durable
"""


def app_folder() -> Path:
    """Return the folder with the packages of the application: in the wheel, else in the checkout around this file."""
    packaged = _HERE / "app"
    return packaged if packaged.is_dir() else _HERE.parent


def environment(before: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: the application comes first, and the working directory not at all."""
    path = [str(app_folder()), *filter(None, [before.get("PYTHONPATH")])]
    return {**before, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def version() -> str:
    """Return the version from its one place, `common/version.py`, without importing it."""
    lines = (app_folder() / "common" / "version.py").read_text(encoding="utf-8").splitlines()
    (found,) = [line for line in lines if line.startswith("VERSION = ")]
    return found.partition(" = ")[2].strip('"')


def run(argv: Sequence[str]) -> NoReturn:
    """Become the program that `argv` names, or print help and exit."""
    name, *arguments = argv or ["--help"]
    if name in ("-h", "--help"):
        print(HELP, end="")
        sys.exit(0)
    if name == "--version":
        print(f"{NAME} (Fanmail) {version()}")
        sys.exit(0)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"{NAME} --help lists the commands"
        print(f"{NAME}: unknown command {name!r}: {hint}", file=sys.stderr)
        sys.exit(UNUSABLE)
    program = [sys.executable, "-m", COMMANDS[name].module, *arguments]
    os.execve(program[0], program, environment(os.environ))


def main() -> NoReturn:
    """Run the command. This is the entry point of the `fanmail-server` script."""
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
