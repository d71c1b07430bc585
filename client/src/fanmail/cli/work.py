"""`fanmail work`: run a command for every message, with leases."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn

import click

from fanmail.cli.exit_codes import CANNOT_RUN
from fanmail.cli.options import (
    Server,
    grouped,
    json_option,
    limit_option,
    seconds_option,
    server_options,
    topic_argument,
    user_argument,
)
from fanmail.cli.output import print_json
from fanmail.cli.signals import listen
from fanmail.message import Message
from fanmail.worker import DEFAULT_DELAY_S, DEFAULT_LEASE_S, DEFAULT_MAX_DELAY_S, WorkOptions


class CommandFailed(Exception):
    """The command ended with an exit code other than 0."""


class Runner:
    """Runs the command for one message after another until it is told to stop.

    SIGTERM and SIGINT end a running command and then the worker; a second signal kills the command. They raise nothing
    meanwhile, so the command is not left behind and the message is given back, or acknowledged if the command succeeds
    all the same. If no command is running they end the worker at once.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._busy = False
        self._child: subprocess.Popen[bytes] | None = None
        self.stopped: int = 0
        """The signal that stopped the worker, else 0."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the context."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        listen(self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        is_repeated, self.stopped = self.stopped, number
        if not self._busy:
            self.exit()
        if self._child is not None:
            self._child.kill() if is_repeated else self._child.terminate()

    def exit(self) -> NoReturn:
        """End the process with the exit code of the signal."""
        sys.exit(128 + self.stopped)

    def handle(self, message: Message) -> None:
        """Run the command for a message. Raises CommandFailed for an exit code other than 0."""
        self._busy = True
        try:
            code = self._run(message)
        except OSError as error:
            click.echo(f"fanmail: {error}", err=True)
            sys.exit(CANNOT_RUN)
        finally:
            self._busy, self._child = False, None
        if code and self.stopped:
            self.exit()
        if code:
            raise CommandFailed(f"exit code {code}")

    def _run(self, message: Message) -> int:
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, env=os.environb | _environment(message)) as child:
            self._child = child
            if self.stopped:  # a signal arrived before `_child` was set
                child.terminate()
            child.communicate(message.body)
        return child.returncode


@click.command(context_settings={"ignore_unknown_options": True})
@topic_argument
@user_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@seconds_option("--lease", "Seconds; extended while COMMAND runs.", DEFAULT_LEASE_S, least=1)
@seconds_option("--delay", "Seconds before the first redelivery; doubled with each further attempt.", DEFAULT_DELAY_S)
@seconds_option("--max-delay", "Upper limit of the doubled --delay in seconds.", DEFAULT_MAX_DELAY_S)
@limit_option("Stop after this many messages.")
@click.option("--until-empty", is_flag=True, help="Stop when no message waits.")
@json_option
@grouped("options", WorkOptions)
@server_options
def work(topic: str, user: str, command: tuple[str, ...], options: WorkOptions, as_json: bool, server: Server) -> None:
    """Run COMMAND for every message of USER, with the body on standard input: fanmail work TOPIC USER -- CMD ARG...

    Exit code 0 acknowledges the message. With any other code it is given back and redelivered after --delay, which
    doubles with each failure. The lease is extended while COMMAND runs. Its environment has FANMAIL_MSG_ID, _TYPE,
    _ATTEMPT, _TOPIC and _USER, in UTF-8. SIGTERM and Ctrl-C end COMMAND, and the message is given back unless it
    succeeds. Several workers may share a USER.
    """
    if shutil.which(command[0]) is None:  # before a message is leased, which would cost it an attempt
        click.echo(f"fanmail: {command[0]!r} is not a command that can be run", err=True)
        sys.exit(CANNOT_RUN)
    runner = Runner(command)
    options |= {"failed": _report_failure, "stopped": lambda: bool(runner.stopped)}
    with runner.listening(), server.connect() as client:
        result = client.work(topic, user, runner.handle, **options)
    if as_json:
        print_json(asdict(result))
    else:
        click.echo(f"{result.done} done, {result.failed} given back, {result.lost} lost their lease", err=True)
    if runner.stopped:
        runner.exit()


def _report_failure(message: Message, error: Exception) -> None:
    click.echo(f"fanmail: {message.id}: {error}; the message will be redelivered", err=True)


def _environment(message: Message) -> dict[bytes, bytes]:
    """Return the variables for a command, as UTF-8 in every locale, because a locale may lack characters of names."""
    return {
        b"FANMAIL_MSG_ID": message.id.encode(),
        b"FANMAIL_MSG_TYPE": message.type.encode(),
        b"FANMAIL_MSG_ATTEMPT": str(message.attempt).encode(),
        b"FANMAIL_MSG_TOPIC": message.topic.encode(),
        b"FANMAIL_MSG_USER": message.user.encode(),
    }
