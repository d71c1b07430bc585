"""The `fanmail` command and its subcommands. Errors become one line on standard error and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click
from click.shell_completion import shell_complete

from fanmail.cli.admin import brokers, delete, pause, peek, purge, resume, topics
from fanmail.cli.bench import bench
from fanmail.cli.delayed import cancel, delayed
from fanmail.cli.exit_codes import EXIT_CODES, FAILED, INTERRUPTED, NOTHING, USAGE, exit_code
from fanmail.cli.formatting import printable
from fanmail.cli.forward import forward
from fanmail.cli.options import SHORT_NAMES, current_name, is_terminal
from fanmail.cli.profile_store import VARIABLE, chosen_profile, defaults_of
from fanmail.cli.profiles import profile_commands
from fanmail.cli.publish import publish
from fanmail.cli.read import read, verify
from fanmail.cli.rebalance import rebalance
from fanmail.cli.signals import listen
from fanmail.cli.subscriptions import dead, show_status, stats, subscribe, unsubscribe
from fanmail.cli.tail import tail
from fanmail.cli.top import top
from fanmail.cli.work import work
from fanmail.errors import FanmailError
from fanmail.version import VERSION

NAME = "fanmail"
GROUPS: dict[str, tuple[str, ...]] = {
    "Messages": ("publish", "read", "tail", "work", "forward", "verify"),
    "Subscriptions": ("subscribe", "unsubscribe", "status", "stats", "dead"),
    "Operations": (
        *("top", "topics", "peek", "purge", "delete", "delayed", "cancel", "brokers", "pause", "resume"),
        "rebalance",
    ),
    "This command": ("profile", "completion", "bench"),
}
_COMPLETE = "_FANMAIL_COMPLETE"
OTHER_PORT = ("no-route", "method-not-allowed")
"""Codes of errors that this command causes only with the URL of the other port."""
WRONG_PORT = (
    ". Is this the other port of a front? --url is for its public port, by default 8100, and --ops-url for its "
    "operations port, by default 9100"
)


class Commands(click.Group):
    """A group of subcommands that turns the errors of the client into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand. Raises SystemExit with the code of an error."""
        try:
            return super().invoke(ctx)
        except SystemExit as end:
            if end.code == NOTHING and is_terminal():  # silence would look like success
                click.echo(f"{NAME}: nothing found", err=True)
            raise
        except FanmailError as error:
            click.echo(f"{NAME}: {printable(str(error))}{WRONG_PORT if error.code in OTHER_PORT else ''}", err=True)
            raise SystemExit(exit_code(error)) from None
        except UnicodeEncodeError:
            click.echo(f"{NAME}: an argument is not UTF-8", err=True)
            raise SystemExit(USAGE) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader of the output has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(FAILED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands in groups."""
        room = formatter.width - 8 - max(map(len, self.commands))
        for title, names in GROUPS.items():
            rows = [(name, self.commands[name].get_short_help_str(room)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
        short = ", ".join(f"{short} for {name}" for short, name in SHORT_NAMES.items())
        with formatter.section("Short names"):
            formatter.write_text(short)


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": current_name},
)
@click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")
@click.option("--profile", envvar=VARIABLE, show_envvar=True, help="Profile to use for this call; see fanmail profile.")
@click.pass_context
def command(ctx: click.Context, profile: str | None) -> None:
    """Publish to and read from Fanmail, an HTTP publish/subscribe server."""
    if ctx.invoked_subcommand not in ("profile", "completion"):
        try:
            ctx.obj = chosen_profile(profile)
            defaults = defaults_of(ctx.obj)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        ctx.default_map = {
            name: dict.fromkeys(each.commands, defaults) if isinstance(each, click.Group) else defaults
            for name, each in command.commands.items()
        }
    logging.getLogger("fanmail").addHandler(logging.NullHandler())


@command.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete this command. Usage: eval "$(fanmail completion bash)"."""
    shell_complete(command, {}, NAME, _COMPLETE, f"{shell}_source")


for _each in (
    *(subscribe, unsubscribe, publish, read, tail, work, forward, dead, show_status, stats, verify, bench),
    *(topics, peek, purge, delayed, cancel, delete, top, brokers, pause, resume, rebalance, profile_commands),
):
    command.add_command(_each)


def main() -> None:
    """Run the command. This is the entry point of the `fanmail` script."""
    listen()
    command(prog_name=NAME, complete_var=_COMPLETE)


if __name__ == "__main__":
    main()
