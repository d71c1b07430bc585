"""`fanmail read`, `tail` and `verify`: receiving by `after`, which loses nothing."""

from __future__ import annotations

import math
import secrets
import time
from contextlib import suppress

import click

from fanmail.cli.common import (
    FAILED,
    NOTHING,
    Server,
    json_option,
    progress,
    say_json,
    say_message,
    server_options,
    topic_argument,
    user_argument,
    wait_out,
)
from fanmail.client import Client
from fanmail.errors import FanmailError
from fanmail.gapless import Gapless

BATCH = 100
MOST_KEPT = 1000
"""Messages of one fetch, by the server's default ceiling; with --keep there is only one."""
POLL = 1.0
"""Seconds of one long poll, so that a limit of time is kept to."""


@click.command()
@topic_argument
@user_argument
@click.option("--count", "-n", type=click.IntRange(min=1), default=1, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Seconds, for the first.")
@click.option("--after", default="0", help="The cursor: everything up to this id is done.")
@click.option("--keep", is_flag=True, help="Do not tell the server that they are done: they come again.")
@click.option("--take", is_flag=True, help="At most once, as a plain GET: also while others lease.")
@json_option
@server_options
def read(
    topic: str,
    user: str,
    count: int,
    everything: bool,
    wait: float,
    after: str,
    keep: bool,
    take: bool,
    as_json: bool,
    server: Server,
) -> None:
    """Print the next messages of USER; they are done once they are printed. Exit code 3 where none waits."""
    if take and (keep or after != "0"):
        raise click.UsageError("--take goes with neither --keep nor --after")
    printed, last = 0, after
    with server.connect() as client, progress("{task.fields[seen]:,} messages", beside_output=True) as bar:
        task = bar.add_task("reading", total=None if everything else count, seen=0)
        try:
            while everything or printed < count:
                most = min(math.inf if everything else count - printed, MOST_KEPT if keep else BATCH)
                cursor = None if take else last
                fetched = client.fetch(topic, user, int(most), after=cursor, wait=0 if printed else wait)
                for message in fetched:
                    say_message(message, as_json)
                    printed, last = printed + 1, message.id
                bar.update(task, completed=printed, seen=printed)
                if not fetched.messages or keep:
                    break
        finally:
            if printed and not keep and not take:
                client.advance(topic, user, last)
    if keep and fetched.more and (everything or printed < count):
        click.echo(
            f"fanmail: {fetched.more} more wait: no more are fetched without telling that these are done", err=True
        )
    if not printed:
        raise SystemExit(NOTHING)


@click.command()
@topic_argument
@user_argument
@click.option("--subscribe", "-s", "first", is_flag=True, help="Subscribe USER first.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many.")
@click.option("--after", default="0", help="The cursor: everything up to this id is done.")
@json_option
@server_options
def tail(topic: str, user: str, first: bool, count: int | None, after: str, as_json: bool, server: Server) -> None:
    """Print messages of USER as they come, for ever; they are done once they are printed."""
    printed, last = 0, None
    with server.connect() as client:
        if first:
            client.subscribe(topic, user)
        try:
            for message in client.messages(topic, user, after=after, batch=min(count or BATCH, BATCH)):
                say_message(message, as_json)
                printed, last = printed + 1, message.id
                if printed == count:
                    break
        finally:
            # What was printed is done, also where Ctrl-C ends this; the error, if there is one, is told first.
            if last is not None:
                with suppress(FanmailError):
                    client.advance(topic, user, last)


@click.command()
@topic_argument
@click.argument("user", required=False)
@click.option("--seconds", type=click.FloatRange(min=0), help="How long to read; without it until none waits.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many messages.")
@json_option
@server_options
def verify(
    topic: str, user: str | None, seconds: float | None, count: int | None, as_json: bool, server: Server
) -> None:
    """Read and prove from the ids that nothing was lost meanwhile: they count 1, 2, 3, ... without gaps.

    Takes the messages of USER; without USER it subscribes one of its own for that time (give --seconds or --count
    then). A gap is a loss, unless messages of the topic expire or its ceilings drop the oldest, or somebody else reads
    as the same user. Exit code 1 for a gap or a new life of the topic, 3 where no message came.
    """
    if user is None and seconds is None and count is None:
        raise click.UsageError("without USER give --seconds or --count")
    with server.connect() as client:
        own = user or f"fanmail-verify-{secrets.token_hex(4)}"
        if user is None:
            client.subscribe(topic, own, expires_after=3600)
        try:
            seen = _follow(client, topic, own, seconds, count)
        finally:
            if user is None:
                client.unsubscribe(topic, own)
    if as_json:
        say_json(seen.report())
    else:
        click.echo(str(seen))
    if not seen.whole:
        raise SystemExit(FAILED)
    if not seen.count:
        raise SystemExit(NOTHING)


def _follow(client: Client, topic: str, user: str, seconds: float | None, count: int | None) -> Gapless:
    """Reads and acknowledges until it is time, or so many have come, or (without either) none waits."""
    seen, last = Gapless(), "0"
    ends = None if seconds is None else time.monotonic() + seconds
    patient = ends is not None or count is not None
    with progress("{task.fields[seen]:,} messages") as bar:
        task = bar.add_task("reading", total=count, seen=0)
        while count is None or seen.count < count:
            left = POLL if ends is None else min(POLL, ends - time.monotonic())
            if left <= 0:
                break
            most = BATCH if count is None else min(BATCH, count - seen.count)
            asked = time.monotonic()
            fetched = client.fetch(topic, user, most, after=last, wait=left if patient else 0)
            for message in fetched:
                seen.add(message.id)
                last = message.id
            bar.update(task, completed=seen.count, seen=seen.count)
            if not fetched.messages:
                if not patient:
                    break
                wait_out(asked, left)
    if seen.count:
        client.advance(topic, user, last)
    return seen
