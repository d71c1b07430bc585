"""`fanmail delayed`, which lists delayed publishes, and `fanmail cancel`, which removes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice

import click

from fanmail.cli.admin import confirm
from fanmail.cli.exit_codes import NOTHING
from fanmail.cli.formatting import format_body, format_duration, format_number
from fanmail.cli.options import Server, json_option, limit_option, ops_options, topic_argument, yes_option
from fanmail.cli.output import Formats, content_fields, print_json, print_result, print_rows
from fanmail.cluster import Delayed
from fanmail.errors import Unavailable

TOPIC_COLUMNS = ("topic", "publishes", "memory", "broker")
PUBLISH_COLUMNS = ("id", "due", "messages", "bytes", "ttl", "type")
FORMATS: Formats = {"memory": format_number, "bytes": format_number, "ttl": format_duration}
Row = dict[str, object]


@click.command()
@click.argument("topic", required=False)
@click.argument("delayed_id", metavar="[ID]", required=False)
@limit_option("Number of topics or publishes, at most.")
@json_option
@ops_options
def delayed(topic: str | None, delayed_id: str | None, limit: int | None, as_json: bool, server: Server) -> None:
    """List the delayed publishes of TOPIC, or show the one with this ID and the beginnings of its first messages.

    Without TOPIC, list the topics that have delayed publishes, also those without subscriptions. Exit code 3 if there
    are none.
    """
    with server.admin() as admin:
        if topic is None:
            _print(map(asdict, islice(admin.delayed_topics(), limit)), as_json, TOPIC_COLUMNS)
        elif delayed_id is None:
            _print(map(_row, islice(admin.delayed(topic), limit)), as_json, PUBLISH_COLUMNS)
        else:
            found = admin.one_delayed(topic, delayed_id)
            if as_json:
                print_json(_row(found) | {"first": [content_fields(body) for body in found.first]})
                return
            print_rows([_row(found)], False, PUBLISH_COLUMNS, FORMATS)
            print_rows([{"body": format_body(body)} for body in found.first], False, ("body",), header=False)


def _print(rows: Iterable[Row], as_json: bool, columns: tuple[str, ...]) -> None:
    """Print rows; if brokers do not answer, print those of the others before the error is raised."""
    listed: list[Row] = []
    failed: Unavailable | None = None
    try:
        listed.extend(rows)
    except Unavailable as error:
        failed = error
    if listed:
        print_rows(listed, as_json, columns, FORMATS)
    if failed is not None:
        raise failed
    if not listed:
        raise SystemExit(NOTHING)


def _row(found: Delayed) -> Row:
    row: Row = {name: getattr(found, name) for name in PUBLISH_COLUMNS}
    row["due"] = found.due.isoformat(timespec="milliseconds")
    return row | ({"meta": dict(found.headers)} if found.headers else {})


@click.command()
@topic_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Remove all delayed publishes of TOPIC.")
@yes_option
@json_option
@ops_options
def cancel(topic: str, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool, server: Server) -> None:
    """Remove delayed publishes of TOPIC, so that they are not published. Print their number.

    `fanmail delayed TOPIC` lists their IDs. Exit code 4 if one does not exist: it was already published or removed.
    """
    if bool(ids) == everything:
        raise click.UsageError("give the ids of delayed publishes, or --all")
    with server.admin() as admin:
        if not yes:
            confirm(f"Remove {'all' if everything else f'{len(ids):,}'} delayed publishes of {topic!r}?")
        if everything:
            count = admin.remove_all_delayed(topic)
        else:
            for delayed_id in ids:
                admin.remove_delayed(topic, delayed_id)
            count = len(ids)
    print_result({"topic": topic, "removed": count}, as_json, str(count))
