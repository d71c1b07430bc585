"""The parser of every command line of the server: one form of help, and errors of one line."""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import configargparse

from common.errors import StartError
from common.program import launcher, program
from common.version import VERSION

WIDTH, INDENT = 80, 26
"""Columns of help texts, which are the same on every terminal because `bin/_help` has copies."""
_NUMBER = re.compile(r"-\d")
_UNREAD = re.compile(r"Unable to open config file: (.*)\. Error: \[Errno \d+\] (.*?): .*")


class About(NamedTuple):
    """What the help of a program says beside its settings."""

    text: str
    examples: tuple[str, ...]
    """The arguments of example calls, which end the help."""
    arguments: str = ""
    """The positional arguments, as the usage shows them."""


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """A parser that raises errors as `StartError`, names the flag that was probably meant, and has `--version`."""

    def __init__(self, description: str, examples: Sequence[str] = (), name: str = "", **options: Any) -> None:
        """`name` is that of the program; a parser of a subcommand has the `prog` that `argparse` gives it."""
        if name:
            options["prog"] = launcher(name)
        self.called: str = program(name) if name else options["prog"].removeprefix("bin/")
        """What begins the line of an error."""
        super().__init__(
            description="\n\n".join(textwrap.fill(each, WIDTH) for each in description.split("\n\n")),
            epilog=example_text(options["prog"], examples),
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_env_var_help=False,
            add_config_file_help=False,
            args_for_setting_config_path=[],
            **options,
        )
        shown = f"{self.called} (Fanmail) {VERSION}"
        self.add_argument("--version", action="version", version=shown, help="print the version and exit")

    def parse_known_args(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Refuse unknown flags before anything else: their values would be taken for positional arguments."""
        if args is not None and self._subparsers is None:
            self._refuse_unknown_flags(args)
        return super().parse_known_args(args, *more, **options)

    def _refuse_unknown_flags(self, args: Sequence[str]) -> None:
        known = self._option_string_actions
        for word in args:
            if word == "--":
                return
            name = word.partition("=")[0]
            if word.startswith("-") and word != "-" and name not in known and not _NUMBER.match(word):
                self.error(f"unknown argument {word!r}{did_you_mean(name, known)}")

    def format_help(self) -> str:
        return f"{super().format_help().rstrip()}\n"

    def error(self, message: str) -> NoReturn:
        unread = _UNREAD.fullmatch(message)
        if unread:  # the parser says it twice
            message = f"{unread[1]}: {unread[2]}"
        raise StartError(message, self.called)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=INDENT, width=WIDTH)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what follows an unknown name in an error: the known name that is nearest, or where they are listed."""
    near = difflib.get_close_matches(name, known, 1)
    return f": did you mean {near[0]}?" if near else " (--help lists them)"


def example_text(prog: str, examples: Sequence[str]) -> str:
    """Return the end of a help text."""
    if not examples:
        return ""
    return "\n".join(
        [f"example{'s' if len(examples) > 1 else ''}:", *(f"  {prog} {each}".rstrip() for each in examples)]
    )
