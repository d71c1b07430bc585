"""`fanmail tail`: the messages of one or several topics as they arrive."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import click

from fanmail.cli.completion import complete_topic
from fanmail.cli.options import Server, grouped, json_option, limit_option, server_options, user_argument
from fanmail.cli.output import Print, message_printer
from fanmail.cli.read import after_option, format_option
from fanmail.cli.template import AT_TERMINAL, AT_TERMINAL_WITH_TOPIC
from fanmail.client import Client
from fanmail.errors import FanmailError


class Tail:
    """The loops over the topics, each in a thread of its own if there are several, and what they have printed."""

    def __init__(self, client: Client, user: str, show: Print, limit: int | None) -> None:
        self._client, self._user, self._show = client, user, show
        self._limit = limit
        self._printed = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._last: dict[str, str] = {}
        """The id of the last message printed, by topic."""

    def run(self, topics: tuple[str, ...], after: str) -> None:
        """Print until the limit is reached or a loop fails, and acknowledge what was printed, also after Ctrl-C."""
        try:
            if len(topics) == 1:
                self._follow(topics[0], after)
            else:
                for topic in topics:
                    threading.Thread(target=self._follow, args=(topic, after), daemon=True).start()
                self._done.wait()
        finally:
            with self._lock:
                self._done.set()
                last = dict(self._last)
            for topic, message_id in last.items():
                with suppress(FanmailError):  # an error that ended a loop is reported, not this one
                    self._client.advance(topic, self._user, message_id)
        if self._error is not None:
            raise self._error

    def _follow(self, topic: str, after: str) -> None:
        try:
            for message in self._client.stream(topic, self._user, after=after):
                with self._lock:
                    if self._done.is_set():  # another loop has printed the last one
                        return
                    self._show(message)
                    self._last[topic] = message.id
                    self._printed += 1
                    if self._printed == self._limit:
                        self._done.set()
                        return
        except Exception as error:
            self._error = self._error or error
            self._done.set()


@dataclass(frozen=True, slots=True)
class TailMode:
    """Where to begin and end, and how messages are printed."""

    subscribe: bool
    limit: int | None
    after: str
    template: str | None
    as_json: bool


@click.command()
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True, shell_complete=complete_topic)
@user_argument
@click.option("--subscribe", "-s", is_flag=True, help="Subscribe USER first.")
@limit_option("Stop after this many messages.")
@after_option
@format_option
@json_option
@grouped("mode", TailMode)
@server_options
def tail(topics: tuple[str, ...], user: str, mode: TailMode, server: Server) -> None:
    """Print messages of USER in one or several topics as they arrive, endlessly, and acknowledge what was printed."""
    if len(topics) > 1 and mode.after != "0":
        raise click.UsageError("--after is the cursor of one topic")
    topics = tuple(dict.fromkeys(topics))
    at_terminal = AT_TERMINAL if len(topics) == 1 else AT_TERMINAL_WITH_TOPIC
    show = message_printer(mode.as_json, mode.template, at_terminal)
    with server.connect() as client:
        if mode.subscribe:
            for topic in topics:
                client.subscribe(topic, user)
        Tail(client, user, show, mode.limit).run(topics, mode.after)
