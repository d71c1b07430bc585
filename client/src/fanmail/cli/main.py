"""The `fanmail` command and its subcommands. Errors become one line on standard error and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click
from click.shell_completion import shell_complete

from fanmail.cli.admin import brokers, end, pause, peek, purge, resume, topics
from fanmail.cli.bench import bench
from fanmail.cli.delayed import cancel, delayed
from fanmail.cli.exit_codes import EXIT_CODES, FAILED, INTERRUPTED, USAGE, exit_code
from fanmail.cli.formatting import printable
from fanmail.cli.options import current_name
from fanmail.cli.publish import publish
from fanmail.cli.read import read, tail, verify
from fanmail.cli.signals import listen
from fanmail.cli.subscriptions import dead, show_status, stats, subscribe, unsubscribe
from fanmail.cli.top import top
from fanmail.cli.work import work
from fanmail.errors import FanmailError
from fanmail.version import VERSION

NAME = "fanmail"
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
        try:
            return super().invoke(ctx)
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


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": current_name},
)
@click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")
def command() -> None:
    """Publish to and read from Fanmail, an HTTP publish/subscribe server."""
    logging.getLogger("fanmail").addHandler(logging.NullHandler())


@command.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete this command. Usage: eval "$(fanmail completion bash)"."""
    shell_complete(command, {}, NAME, _COMPLETE, f"{shell}_source")


for each in (
    *(subscribe, unsubscribe, publish, read, tail, work, dead, show_status, stats, verify, bench),
    *(topics, peek, purge, delayed, cancel, end, top, brokers, pause, resume),
):
    command.add_command(each)


def main() -> None:
    """Run the command. This is the entry point of the `fanmail` script."""
    listen()
    command(prog_name=NAME, complete_var=_COMPLETE)


if __name__ == "__main__":
    main()
