"""Programs with several commands, each of which reads its own arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from common.command_line import Parser
from common.program import launcher

Commands = Mapping[str, tuple[Callable[[Sequence[str]], int], str]]
"""By name: what runs it, and what the help says of it."""


def run_command(prog: str, about: str, examples: Sequence[str], commands: Commands) -> int:
    """Run the command that the command line names, or print the help. Raises `StartError`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in commands:
        return commands[name][0](arguments)
    parser = Parser(about, examples, prog, usage=f"{launcher(prog)} COMMAND ...")
    group = parser.add_subparsers(title="commands", prog=launcher(prog), metavar="COMMAND", required=True)
    for each, (_, text) in commands.items():
        group.add_parser(each, help=text, description="")
    parser.parse_args([name])
    return 0
