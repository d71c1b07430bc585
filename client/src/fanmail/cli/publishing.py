"""`fanmail publish`: one message, or one for each line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import click

from fanmail.calls import batches
from fanmail.cli.common import Server, json_option, progress, say_json, server_options, topic_argument
from fanmail.client import Client

LINES_A_BATCH = 1000
CHUNK = 1024 * 1024
"""Bytes."""


@click.command()
@topic_argument
@click.argument("body", required=False)
@click.option(
    "--file", "-f", "path", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="The body; - is stdin."
)
@click.option("--lines", is_flag=True, help="Every line of the file or of standard input is a message.")
@click.option("--type", "media_type", help="Content-Type of the message.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="Meta-..., ce-..., traceparent.")
@click.option("--ttl", type=float, help="Not handed out after so many seconds.")
@click.option("--delay", type=float, help="Published so many seconds later.")
@click.option("--key", help="Idempotency key: stored once, however often it is run. Not with --lines.")
@json_option
@server_options
def publish(
    topic: str,
    body: str | None,
    path: str | None,
    lines: bool,
    media_type: str | None,
    headers: tuple[str, ...],
    ttl: float | None,
    delay: float | None,
    key: str | None,
    as_json: bool,
    server: Server,
) -> None:
    """Publish BODY to TOPIC, or a file, or standard input. Prints the message's id.

    With --lines they go as they come, in batches of up to 1,000; where it ends with an error, it says how many lines
    were stored.
    """
    if body is not None and (path or lines):
        raise click.UsageError("BODY does not go with --file or --lines")
    if key and lines:
        raise click.UsageError("--key does not go with --lines: it would name one batch of many")
    kept = dict(_header(each) for each in headers)
    with server.connect() as client:
        try:
            if lines:
                _publish_lines(client, topic, path, media_type, kept, ttl, delay, as_json)
                return
            data = os.fsencode(body) if body is not None else _source(path).read()
            stored = client.publish(topic, data, type=media_type, headers=kept, ttl=ttl, delay=delay, key=key)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    due = stored.due.isoformat() if stored.due else None
    if as_json:
        say_json({"id": stored.id, "subscribers": stored.subscribers, "due": due, "replayed": stored.replayed})
    else:
        click.echo(stored.id or (f"due {due}" if due else "no subscribers: dropped"))


def _publish_lines(
    client: Client,
    topic: str,
    path: str | None,
    media_type: str | None,
    headers: dict[str, str],
    ttl: float | None,
    delay: float | None,
    as_json: bool,
) -> None:
    source, sent, first = _source(path), 0, None
    total = Path(path).stat().st_size if path and path != "-" else None
    with progress("{task.fields[sent]:,} messages") as bar:
        task = bar.add_task("publishing", total=total, sent=0)
        try:
            for batch in (batch for lines in _lines(source) for batch in batches(lines, most=LINES_A_BATCH)):
                stored = client.publish_many(topic, batch, type=media_type, headers=headers, ttl=ttl, delay=delay)
                sent += len(batch)
                first = first or stored.id
                bar.update(task, advance=sum(map(len, batch)) + len(batch), sent=sent)
        finally:
            if sys.exc_info()[0]:
                click.echo(f"{sent} lines were published before this:", err=True)
    if as_json:
        say_json({"count": sent, "first_id": first})
    else:
        click.echo(f"{sent} published, from {first}" if first else f"{sent} published, no subscribers: dropped")


def _lines(source: BufferedIOBase) -> Iterator[list[bytes]]:
    """Whole lines, as many as have arrived: what comes slowly, as from `tail -f`, is not held up to fill a batch."""
    rest: list[bytes] = []
    while part := source.read1(CHUNK):
        *whole, last = part.split(b"\n")
        if whole:
            yield [b"".join([*rest, whole[0]]), *whole[1:]]
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
        raise click.UsageError(f"--header {text!r}: NAME:VALUE is wanted")
    return name.strip(" \t"), value.strip(" \t")
