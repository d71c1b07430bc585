"""`fanmail read` and `verify`: reading with a cursor, which loses nothing."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass

import click

from fanmail.cli.exit_codes import FAILED, NOTHING
from fanmail.cli.options import (
    Decorator,
    Server,
    grouped,
    json_option,
    limit_option,
    seconds_option,
    server_options,
    topic_argument,
    user_argument,
)
from fanmail.cli.output import Print, message_printer, print_result, progress
from fanmail.cli.template import AT_TERMINAL, FIELDS
from fanmail.client import Client
from fanmail.gaps import GapDetector

BATCH = 100
MAX_KEPT = 1000
"""Messages per fetch, the server's default limit; with --keep there is only one fetch."""
POLL_S = 1.0
"""The wait of one long poll, short enough to keep to a time limit."""

after_option: Decorator = click.option(
    "--after", default="0", help="Cursor: everything up to and including this id is acknowledged."
)
format_option: Decorator = click.option(
    "--format",
    "template",
    metavar="TEMPLATE",
    help=f"Text for each message, with the fields {', '.join(f'{{{each}}}' for each in FIELDS)}. "
    "Default: {body}; at a terminal with time and id.",
)


@dataclass(frozen=True, slots=True)
class ReadMode:
    """What `read` reads, and whether it acknowledges it."""

    limit: int
    everything: bool
    wait: float
    after: str
    keep: bool
    take: bool
    template: str | None
    as_json: bool

    def left(self, printed: int) -> float:
        """Return how many messages are left to read."""
        return math.inf if self.everything else self.limit - printed


@click.command()
@topic_argument
@user_argument
@limit_option("Number of messages, at most.", default=1, show_default=True)
@click.option("--all", "everything", is_flag=True, help="Print all waiting messages.")
@seconds_option("--wait", "Seconds to wait for the first one.", 0.0)
@after_option
@click.option("--keep", is_flag=True, help="Do not acknowledge the messages, so that they are delivered again.")
@click.option("--take", is_flag=True, help="At-most-once delivery, as a plain GET; works while others lease.")
@format_option
@json_option
@grouped("mode", ReadMode)
@server_options
def read(topic: str, user: str, mode: ReadMode, server: Server) -> None:
    """Print the next messages of USER, and acknowledge what was printed. Exit code 3 if no message waits."""
    if mode.take and (mode.keep or mode.after != "0"):
        raise click.UsageError("--take cannot be combined with --keep or --after")
    show = message_printer(mode.as_json, mode.template, AT_TERMINAL)
    with server.connect() as client:
        printed, more = _print_messages(client, topic, user, mode, show)
    if mode.keep and more and mode.left(printed) > 0:
        click.echo(f"fanmail: {more} more messages wait: --keep prints only those of one fetch", err=True)
    if not printed:
        raise SystemExit(NOTHING)


def _print_messages(client: Client, topic: str, user: str, mode: ReadMode, show: Print) -> tuple[int, int]:
    """Return how many messages were printed, and how many wait after them."""
    printed, last, fetched = 0, mode.after, None
    with progress("{task.fields[seen]:,} messages", beside_output=True) as bar:
        task = bar.add_task("reading", total=None if mode.everything else mode.limit, seen=0)
        try:
            while mode.left(printed) > 0:
                limit = int(min(mode.left(printed), MAX_KEPT if mode.keep else BATCH))
                after, wait = None if mode.take else last, 0 if printed else mode.wait
                fetched = client.fetch(topic, user, limit, after=after, wait=wait)
                for message in fetched:
                    show(message)
                    printed, last = printed + 1, message.id
                bar.update(task, completed=printed, seen=printed)
                if not fetched.messages or mode.keep:
                    break
        finally:
            if printed and not mode.keep and not mode.take:
                client.advance(topic, user, last)
    return printed, fetched.more if fetched else 0


@click.command()
@topic_argument
@click.argument("user", required=False)
@click.option("--seconds", type=click.FloatRange(min=0), help="How long to read. Default: until no message waits.")
@limit_option("Stop after this many messages.")
@json_option
@server_options
def verify(
    topic: str, user: str | None, seconds: float | None, limit: int | None, as_json: bool, server: Server
) -> None:
    """Read messages and prove from their ids, which count 1, 2, 3, ... without gaps, that none was lost.

    This takes the messages of USER. Without USER it subscribes a temporary one (give --seconds or --limit then). A gap
    is a loss unless messages of the topic expire, or its limits drop the oldest, or another reader uses the same user.
    Exit code 1 for a gap or a new life of the topic, 3 if no message arrived.
    """
    if user is None and seconds is None and limit is None:
        raise click.UsageError("without USER give --seconds or --limit")
    with server.connect() as client:
        reader = user or f"fanmail-verify-{secrets.token_hex(4)}"
        if user is None:
            client.subscribe(topic, reader, expires_after=3600)
        try:
            detector = _read_ids(client, topic, reader, seconds, limit)
        finally:
            if user is None:
                client.unsubscribe(topic, reader)
    print_result(detector.report(), as_json, str(detector))
    if not detector.whole:
        raise SystemExit(FAILED)
    if not detector.count:
        raise SystemExit(NOTHING)


def _read_ids(client: Client, topic: str, user: str, seconds: float | None, limit: int | None) -> GapDetector:
    """Read and acknowledge until the time is up, the limit is reached, or (without either) no message waits."""
    detector, last = GapDetector(), "0"
    ends = None if seconds is None else time.monotonic() + seconds
    until_empty = ends is None and limit is None
    with progress("{task.fields[seen]:,} messages") as bar:
        task = bar.add_task("reading", total=limit, seen=0)
        while limit is None or detector.count < limit:
            left_s = POLL_S if ends is None else min(POLL_S, ends - time.monotonic())
            if left_s <= 0:
                break
            batch = BATCH if limit is None else min(BATCH, limit - detector.count)
            asked = time.monotonic()
            fetched = client.fetch(topic, user, batch, after=last, wait=0 if until_empty else left_s)
            for message in fetched:
                detector.add(message.id)
                last = message.id
            bar.update(task, completed=detector.count, seen=detector.count)
            if not fetched.messages:
                if until_empty:
                    break
                wait_out(asked, left_s)
    if detector.count:
        client.advance(topic, user, last)
    return detector


def wait_out(asked: float, seconds: float) -> None:
    """Sleep for the rest of an empty long poll: a server with too many waiters answers it at once."""
    time.sleep(max(asked + seconds - time.monotonic(), 0.0))
