"""`fanmail publish`: one message, or one per line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import TypedDict, cast

import click

from fanmail.batching import batches
from fanmail.cli.exit_codes import NOT_FOUND
from fanmail.cli.options import Server, grouped, json_option, server_options, topic_argument
from fanmail.cli.output import print_json, print_result, progress
from fanmail.client import Client

LINES_PER_BATCH = 1000
CHUNK_BYTES = 1024 * 1024


class _MessageArguments(TypedDict):
    """Arguments of `publish` and `publish_many`."""

    type: str | None
    headers: dict[str, str]
    ttl: float | None
    delay: float | None


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """The options that describe the messages."""

    media_type: str | None
    headers: tuple[str, ...]
    ttl: float | None
    delay: float | None
    key: str | None
    require_subscribers: bool

    def arguments(self) -> _MessageArguments:
        """Return the arguments of `publish` and `publish_many`. Raises UsageError for a malformed header."""
        headers = dict(_header(each) for each in self.headers)
        return {"type": self.media_type, "headers": headers, "ttl": self.ttl, "delay": self.delay}


@click.command()
@topic_argument
@click.argument("body", required=False)
@click.option(
    "--file",
    "-f",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File with the body; - is standard input.",
)
@click.option("--lines", is_flag=True, help="Publish every line of the file or of standard input as a message.")
@click.option("--type", "media_type", help="Content-Type of the message.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="Meta-..., ce-..., traceparent.")
@click.option("--ttl", type=float, help="Seconds after which the message is no longer delivered.")
@click.option("--delay", type=float, help="Seconds to wait before publishing.")
@click.option("--key", help="Idempotency key: the message is stored once, however often this is run. Not with --lines.")
@click.option("--require-subscribers", is_flag=True, help="Exit code 4 if nobody is subscribed. Not with --delay.")
@json_option
@grouped("message", MessageOptions)
@server_options
def publish(
    topic: str,
    body: str | None,
    path: str | None,
    lines: bool,
    message: MessageOptions,
    as_json: bool,
    server: Server,
) -> None:
    """Publish BODY, a file or standard input to TOPIC. Print the message's id.

    With --lines the lines are published as they arrive, in batches of up to 1,000. If it ends with an error, it prints
    how many lines were published.
    """
    if body is not None and (path or lines):
        raise click.UsageError("BODY cannot be combined with --file or --lines")
    if message.key and lines:
        raise click.UsageError("--key cannot be combined with --lines: it would identify one of many batches")
    if message.require_subscribers and message.delay:
        raise click.UsageError("--require-subscribers cannot be combined with --delay: nobody knows them yet")
    arguments = message.arguments()
    with server.connect() as client:
        try:
            if lines:
                reached = _publish_lines(client, topic, path, arguments, as_json)
                _require(reached, message.require_subscribers)
                return
            data = os.fsencode(body) if body is not None else _source(path).read()
            published = client.publish(topic, data, key=message.key, **arguments)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    due = published.due.isoformat() if published.due else None
    fields = {"id": published.id, "subscribers": published.subscribers, "due": due, "replayed": published.replayed}
    print_result(fields, as_json, published.id or (f"due {due}" if due else "no subscribers: dropped"))
    _require(published.subscribers > 0, message.require_subscribers)


def _require(reached: bool, required: bool) -> None:
    """End with exit code 4 if somebody had to be subscribed and nobody was."""
    if required and not reached:
        click.echo("fanmail: nobody is subscribed: the message was dropped", err=True)
        raise SystemExit(NOT_FOUND)


def _publish_lines(client: Client, topic: str, path: str | None, arguments: _MessageArguments, as_json: bool) -> bool:
    """Publish lines. Return whether every batch had subscribers."""
    source, count, first_id, reached = _source(path), 0, None, True
    total = Path(path).stat().st_size if path and path != "-" else None
    with progress("{task.fields[count]:,} messages") as bar:
        task = bar.add_task("publishing", total=total, count=0)
        try:
            for batch in (batch for lines in _lines(source) for batch in batches(lines, LINES_PER_BATCH)):
                published = client.publish_many(topic, batch, **arguments)
                count += len(batch)
                first_id, reached = first_id or published.id, reached and published.subscribers > 0
                bar.update(task, advance=sum(map(len, batch)) + len(batch), count=count)
        finally:
            if sys.exc_info()[0]:
                click.echo(f"{count} lines were published before this error:", err=True)
    if as_json:
        print_json({"count": count, "first_id": first_id})
    else:
        click.echo(f"{count} published, from {first_id}" if first_id else f"{count} published, no subscribers: dropped")
    return reached


def _lines(source: BufferedIOBase) -> Iterator[list[bytes]]:
    """Yield the complete lines that have arrived: slow input, as from `tail -f`, must not wait for a full batch."""
    rest: list[bytes] = []
    while part := source.read1(CHUNK_BYTES):
        *complete, last = part.split(b"\n")
        if complete:
            yield [b"".join([*rest, complete[0]]), *complete[1:]]
            rest = []
        rest.append(last)
    if any(rest):
        yield [b"".join(rest)]


def _source(path: str | None) -> BufferedIOBase:
    if path and path != "-":
        return open(path, "rb")
    if path is None and sys.stdin.isatty():
        raise click.UsageError("give BODY or --file, or write to standard input")
    return cast(BufferedIOBase, sys.stdin.buffer)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f"--header {text!r}: expected NAME:VALUE")
    return name.strip(" \t"), value.strip(" \t")
