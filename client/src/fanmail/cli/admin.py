"""`fanmail topics`, `peek`, `purge`, `delete`, `brokers`, `pause`, `resume`; the part of `status` on a topic."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from fanmail.admin import Admin
from fanmail.admin_calls import MAX_PAGE
from fanmail.cli.exit_codes import NOTHING, UNAVAILABLE
from fanmail.cli.formatting import format_duration, format_number
from fanmail.cli.options import (
    Server,
    json_option,
    limit_option,
    ops_options,
    topic_argument,
    user_argument,
    yes_option,
)
from fanmail.cli.output import Formats, print_json, print_messages, print_result, print_rows, progress
from fanmail.cluster import Broker, Candidate, Topic

TOPIC_COLUMNS = ("topic", "messages", "bytes", "subscriptions", "oldest_age")
TOPIC_DETAILS = (*TOPIC_COLUMNS, "broker", "settings", "oldest_held_by")
BROKER_COLUMNS = (
    *("id", "state", "messages", "bytes", "oldest_age", "dead", "topics", "subscriptions", "leases", "waiting"),
    *("memory", "slots", "round_trip_ms"),
)
FORMATS: Formats = {"oldest_age": format_duration, "bytes": format_number}
_SORT_KEYS = {
    "messages": lambda topic: topic.messages,
    "bytes": lambda topic: topic.bytes,
    "subscriptions": lambda topic: topic.subscriptions,
    "oldest": lambda topic: topic.oldest_age,
}


@click.command()
@click.argument("prefix", default="")
@click.option(
    "--sort",
    type=click.Choice(["name", *_SORT_KEYS]),
    default="name",
    show_default=True,
    help="Order; descending except by name.",
)
@limit_option("Number of topics, at most.")
@json_option
@ops_options
def topics(prefix: str, sort: str, limit: int | None, as_json: bool, server: Server) -> None:
    """List topics, or those whose names begin with PREFIX. Exit code 3 if there are none.

    Ordered by name they are printed page by page; any other order reads all of them first. If brokers do not answer,
    the topics of the others are listed, these brokers are named, and the exit code is 6.
    """
    missing: set[str] = set()
    printed = 0
    with server.admin() as admin:
        pages = _pages(admin, prefix, limit if sort == "name" else None, missing)
        for page in pages if sort == "name" else [_largest(pages, sort, limit)]:
            if page:
                print_rows([asdict(each) for each in page], as_json, TOPIC_COLUMNS, FORMATS, header=not printed)
            printed += len(page)
    if missing:
        click.echo(f"fanmail: topics are missing: {', '.join(sorted(missing))} did not answer", err=True)
        raise SystemExit(UNAVAILABLE)
    if not printed:
        raise SystemExit(NOTHING)


def _pages(admin: Admin, prefix: str, limit: int | None, missing: set[str]) -> Iterator[tuple[Topic, ...]]:
    """Yield up to `limit` topics by name, and add the brokers that did not answer to `missing`."""
    cursor: str | None = None
    left = limit
    while True:
        page = admin.topic_page(prefix, limit=min(left or MAX_PAGE, MAX_PAGE), cursor=cursor)
        missing.update(page.missing)
        yield page.topics
        cursor = page.cursor
        left = None if left is None else left - len(page.topics)
        if cursor is None or left == 0:
            return


def _largest(pages: Iterator[tuple[Topic, ...]], sort: str, limit: int | None) -> tuple[Topic, ...]:
    found: list[Topic] = []
    with progress("{task.fields[seen]:,} topics") as bar:
        task = bar.add_task("reading all topics", total=None, seen=0)
        seen = 0
        for page in pages:
            seen += len(page)
            found.extend(page)
            if limit is not None:  # bounds the memory
                found = heapq.nlargest(limit, found, _SORT_KEYS[sort])
            bar.update(task, seen=seen)
    return tuple(sorted(found, key=_SORT_KEYS[sort], reverse=True))


def show_topic(admin: Admin, topic: str, as_json: bool) -> None:
    """Print the state and settings of a topic, and who has not read its oldest message."""
    found = asdict(admin.topic(topic))
    if as_json:
        print_json(found)
        return
    own = found["own_settings"]
    settings = [f"{name}={value}{'' if own[name] is None else ' (own)'}" for name, value in found["settings"].items()]
    holders = ", ".join(found["oldest_held_by"]) + (", ..." if found["oldest_held_by_more"] else "")
    values = found | {"settings": ", ".join(settings), "oldest_held_by": holders if found["messages"] else ""}
    rows = [{"name": name, "value": FORMATS.get(name, str)(values[name])} for name in TOPIC_DETAILS]
    print_rows(rows, False, ("name", "value"), header=False)


@click.command()
@topic_argument
@user_argument
@limit_option("Number of messages, at most.", type=click.IntRange(1, 100), default=10, show_default=True)
@json_option
@ops_options
def peek(topic: str, user: str, limit: int, as_json: bool, server: Server) -> None:
    """Show the unacknowledged messages of USER, leased ones first, without changing them. Exit code 3 for none."""
    with server.admin() as admin:
        found = admin.peek(topic, user, limit)
    print_messages(found, as_json)
    if not found:
        raise SystemExit(NOTHING)


@click.command()
@topic_argument
@user_argument
@yes_option
@json_option
@ops_options
def purge(topic: str, user: str, yes: bool, as_json: bool, server: Server) -> None:
    """Delete all unacknowledged messages of USER, including leased ones. Print their number. Dead letters stay."""
    with server.admin() as admin:
        if not yes:
            found = admin.subscription(topic, user)
            leased = f" and {found.leased:,} leased" if found.leased else ""
            confirm(f"Delete {found.pending:,} waiting{leased} messages of {user!r}?")
        count = admin.purge(topic, user)
    print_result({"topic": topic, "user": user, "purged": count}, as_json, str(count))


@click.command()
@topic_argument
@yes_option
@json_option
@ops_options
def delete(topic: str, yes: bool, as_json: bool, server: Server) -> None:
    """Delete TOPIC with all its subscriptions and messages. Print the number of subscriptions."""
    with server.admin() as admin:
        if not yes:
            found = admin.topic(topic)
            confirm(f"Delete {topic!r} with {found.subscriptions:,} subscriptions and {found.messages:,} messages?")
        count = admin.end_topic(topic)
    print_result({"topic": topic, "ended": count}, as_json, str(count))


def confirm(question: str) -> None:
    """Ask on a terminal, and abort unless the answer is yes. Raises UsageError without a terminal: use --yes there."""
    if not sys.stdin.isatty():
        raise click.UsageError("cannot ask for confirmation without a terminal: use --yes")
    click.confirm(question, abort=True, err=True)


@click.command()
@json_option
@ops_options
def brokers(as_json: bool, server: Server) -> None:
    """Show all brokers."""
    with server.admin() as admin:
        found = admin.brokers()
    rows = [broker_fields(each) if as_json else broker_row(each) for each in found]
    columns: Sequence[str] = BROKER_COLUMNS
    if any(each.candidates for each in found):
        columns = (*columns[:2], "owner", "standby", *columns[2:])
    print_rows(rows, as_json, columns, FORMATS | {"messages": format_number})


def broker_fields(broker: Broker) -> dict[str, object]:
    """Return a broker as an object for JSON."""
    return asdict(broker) | {"state": broker.state, "draining": broker.paused}  # the former name of `paused`


def broker_row(broker: Broker) -> dict[str, object]:
    """Return a broker as a row of a table, without gauges if it does not answer."""
    row: dict[str, object] = {"id": broker.id, "state": broker.state, "slots": broker.slots}
    if broker.candidates:
        row["owner"] = ", ".join(each.host for each in broker.candidates if each.state == "owner") or None
        row["standby"] = ", ".join(_standby(each) for each in broker.candidates if each.state != "owner")
    if broker.round_trip is not None and broker.up:
        row["round_trip_ms"] = round(broker.round_trip * 1000, 1)
    stats = broker.stats
    if not stats:
        return row
    row |= {name: stats[name] for name in ("messages", "topics", "subscriptions", "leases")}
    row |= {"bytes": stats["content_bytes"], "dead": stats["dead_letters"], "waiting": stats["waiters"]}
    row["oldest_age"] = stats["oldest_age_ms"] / 1000
    row["memory"] = f"{100 * stats['memory_bytes'] / max(stats['memory_limit_bytes'], 1):.1f} %"
    return row


def _standby(candidate: Candidate) -> str:
    if candidate.state != "standby":
        return f"{candidate.host} ({candidate.state})"
    return f"{candidate.host}, {candidate.lag} behind" if candidate.lag else candidate.host


@click.command()
@click.argument("broker")
@ops_options
def pause(broker: str, server: Server) -> None:
    """Make BROKER refuse publishes and new subscriptions until resume or its next start."""
    with server.admin() as admin:
        admin.pause(broker)


@click.command()
@click.argument("broker")
@ops_options
def resume(broker: str, server: Server) -> None:
    """Make BROKER accept publishes and new subscriptions again."""
    with server.admin() as admin:
        admin.resume(broker)
