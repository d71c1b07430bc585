"""Publishes that wait for their time: `fanmail delayed`, and `fanmail cancel`, which removes them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice

import click

from fanmail.cli.common import NOTHING, Server, json_option, ops_options, say_json, show, topic_argument
from fanmail.cli.operating import confirm, yes_option
from fanmail.cli.words import age, body_text, short
from fanmail.cluster import Delayed
from fanmail.errors import Unavailable

TOPIC = ("topic", "publishes", "memory", "broker")
PUBLISH = ("id", "due", "messages", "bytes", "ttl", "type")
FORMATS = {"memory": short, "bytes": short, "ttl": age}
Row = dict[str, object]


@click.command()
@click.argument("topic", required=False)
@click.argument("delayed_id", metavar="[ID]", required=False)
@click.option("--limit", type=click.IntRange(min=1), help="The greatest number of them.")
@json_option
@ops_options
def delayed(topic: str | None, delayed_id: str | None, limit: int | None, as_json: bool, server: Server) -> None:
    """List the delayed publishes of TOPIC; with an ID show one of them, with the beginnings of its first messages.

    Without TOPIC list the topics that have any, also those to which nobody is subscribed. Exit code 3 where there are
    none.
    """
    with server.admin() as admin:
        if topic is None:
            _show((asdict(each) for each in islice(admin.delayed_topics(), limit)), as_json, TOPIC)
        elif delayed_id is None:
            _show(map(_row, islice(admin.delayed(topic), limit)), as_json, PUBLISH)
        else:
            found = admin.one_delayed(topic, delayed_id)
            if as_json:
                say_json(_row(found) | {"first": [_content(each) for each in found.first]})
                return
            show([_row(found)], False, PUBLISH, FORMATS)
            show([{"body": body_text(each)} for each in found.first], False, ("body",), header=False)


def _show(rows: Iterable[Row], as_json: bool, columns: tuple[str, ...]) -> None:
    """Where brokers do not answer, what the others have is shown all the same."""
    listed: list[Row] = []
    failed: Unavailable | None = None
    try:
        listed.extend(rows)
    except Unavailable as error:
        failed = error
    if listed:
        show(listed, as_json, columns, FORMATS)
    if failed is not None:
        raise failed
    if not listed:
        raise SystemExit(NOTHING)


def _row(found: Delayed) -> Row:
    row: Row = {name: getattr(found, name) for name in PUBLISH} | {"due": found.due.isoformat(timespec="milliseconds")}
    return row | ({"meta": dict(found.headers)} if found.headers else {})


def _content(body: bytes) -> Row:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


@click.command()
@topic_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All delayed publishes of TOPIC.")
@yes_option
@json_option
@ops_options
def cancel(topic: str, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool, server: Server) -> None:
    """Remove delayed publishes of TOPIC by their IDs, which `fanmail delayed TOPIC` lists: they will not be published.

    Says how many. Exit code 4 for one that does not wait: it was published already, or removed.
    """
    if bool(ids) == everything:
        raise click.UsageError("name delayed publishes by their ids, or all of them by --all")
    with server.admin() as admin:
        if not yes:
            confirm(f"Remove {'all' if everything else len(ids)} delayed publishes of {topic!r}?")
        if everything:
            count = admin.remove_all_delayed(topic)
        else:
            for each in ids:
                admin.remove_delayed(topic, each)
            count = len(ids)
    say_json({"topic": topic, "removed": count}) if as_json else click.echo(str(count))
