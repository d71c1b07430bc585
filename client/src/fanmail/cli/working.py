"""`fanmail work`: a command for every message, with leases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from fanmail.cli.common import Server, json_option, say_json, server_options, topic_argument, user_argument
from fanmail.cli.signals import listen
from fanmail.loops import DEFAULT_DELAY, MOST_DELAY
from fanmail.message import Message

CANNOT_RUN = 127
"""Exit code where there is no such command, as of shells."""


class CommandFailed(Exception):
    """It ended with another exit code than 0."""


class Runner:
    """Runs the command for one message after the other, and stops when it is told to.

    SIGTERM and SIGINT end a command that runs, and the worker after it; a second one kills it. They raise nothing
    meanwhile, so that the command cannot be left behind and the message is given back, or acknowledged if the command
    ends well all the same. Where none runs they end the worker at once.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._busy = False
        self._child: subprocess.Popen[bytes] | None = None
        self.stopped = 0
        """The signal."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals meanwhile."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        listen(self._signalled)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int) -> None:
        again, self.stopped = self.stopped, number
        if not self._busy:
            self.leave()
        if self._child is not None:
            self._child.kill() if again else self._child.terminate()

    def leave(self) -> NoReturn:
        """Ends the process as the signal would have."""
        sys.exit(128 + self.stopped)

    def handle(self, message: Message) -> None:
        """Raises CommandFailed for another exit code than 0."""
        self._busy = True
        try:
            code = self._run(message)
        except OSError as error:
            click.echo(f"fanmail: {error}", err=True)
            sys.exit(CANNOT_RUN)
        finally:
            self._busy, self._child = False, None
        if code and self.stopped:
            self.leave()
        if code:
            raise CommandFailed(f"exit code {code}")

    def _run(self, message: Message) -> int:
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, env=os.environb | _environment(message)) as child:
            self._child = child
            if self.stopped:  # while it was started
                child.terminate()
            child.communicate(message.body)
        return child.returncode


@click.command(context_settings={"ignore_unknown_options": True})
@topic_argument
@user_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--lease", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Seconds; extended.")
@click.option(
    "--delay", type=click.FloatRange(min=0), default=DEFAULT_DELAY, show_default=True, help="Seconds until a retry."
)
@click.option(
    "--most-delay",
    type=click.FloatRange(min=0),
    default=MOST_DELAY,
    show_default=True,
    help="--delay doubles with every further attempt, up to this.",
)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many messages.")
@click.option("--until-empty", is_flag=True, help="End when none waits.")
@json_option
@server_options
def work(
    topic: str,
    user: str,
    command: tuple[str, ...],
    lease: float,
    delay: float,
    most_delay: float,
    count: int | None,
    until_empty: bool,
    as_json: bool,
    server: Server,
) -> None:
    """Run COMMAND for every message of USER, the body on its standard input: fanmail work TOPIC USER -- CMD ARG...

    Exit code 0 acknowledges; with any other the message is given back and goes out again after --delay, and ever later
    the more often it fails. The lease is extended while it runs. FANMAIL_MSG_ID, _TYPE, _ATTEMPT, _TOPIC and _USER are
    in its environment, as UTF-8. SIGTERM and Ctrl-C end it, and give the message back unless it ends well. Many workers
    may share a USER.
    """

    def failed(message: Message, error: Exception) -> None:
        click.echo(f"fanmail: {message.id}: {error}; it goes out again", err=True)

    runner = Runner(command)
    with runner.listening(), server.connect() as client:
        did = client.work(
            topic,
            user,
            runner.handle,
            lease=lease,
            delay=delay,
            most_delay=most_delay,
            most=count,
            until_empty=until_empty,
            failed=failed,
            stopped=lambda: bool(runner.stopped),
        )
    if as_json:
        say_json({"done": did.done, "failed": did.failed, "lost": did.lost})
    else:
        click.echo(f"{did.done} done, {did.failed} given back, {did.lost} lost their lease", err=True)
    if runner.stopped:
        runner.leave()


def _environment(message: Message) -> dict[bytes, bytes]:
    """UTF-8 in every locale: one that cannot say a name or a type must not keep a message from its command."""
    return {
        b"FANMAIL_MSG_ID": message.id.encode(),
        b"FANMAIL_MSG_TYPE": message.type.encode(),
        b"FANMAIL_MSG_ATTEMPT": str(message.attempt).encode(),
        b"FANMAIL_MSG_TOPIC": message.topic.encode(),
        b"FANMAIL_MSG_USER": message.user.encode(),
    }
