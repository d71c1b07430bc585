"""The command and its subcommands; errors become one line on standard error and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click
from click.shell_completion import shell_complete

from fanmail.cli.benching import bench
from fanmail.cli.common import EXIT_CODES, FAILED, INTERRUPTED, USAGE, exit_code
from fanmail.cli.delaying import cancel, delayed
from fanmail.cli.operating import brokers, drain, end, peek, purge, topics, undrain
from fanmail.cli.publishing import publish
from fanmail.cli.reading import read, tail, verify
from fanmail.cli.signals import listen
from fanmail.cli.subscribing import dead, show_standing, stats, subscribe, unsubscribe
from fanmail.cli.top import top
from fanmail.cli.words import printable
from fanmail.cli.working import work
from fanmail.errors import FanmailError
from fanmail.version import VERSION

NAME = "fanmail"
_COMPLETE = "_FANMAIL_COMPLETE"


class Commands(click.Group):
    """Turns what the client raises into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FanmailError as error:
            click.echo(f"{NAME}: {printable(str(error))}", err=True)
            raise SystemExit(exit_code(error)) from None
        except UnicodeEncodeError:
            click.echo(f"{NAME}: an argument is not UTF-8", err=True)
            raise SystemExit(USAGE) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:  # whoever read this has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(FAILED) from None


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")
def command() -> None:
    """Publish to and read from Fanmail, an HTTP publish/subscribe server."""
    logging.getLogger("fanmail").addHandler(logging.NullHandler())


@command.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete this command: eval "$(fanmail completion bash)"."""
    shell_complete(command, {}, NAME, _COMPLETE, f"{shell}_source")


for each in (
    *(subscribe, unsubscribe, publish, read, tail, work, dead, show_standing, stats, verify, bench),
    *(topics, peek, purge, delayed, cancel, end, top, brokers, drain, undrain),
):
    command.add_command(each)


def main() -> None:
    """The entry point of the `fanmail` script."""
    listen()
    command(prog_name=NAME, complete_var=_COMPLETE)


if __name__ == "__main__":
    main()
