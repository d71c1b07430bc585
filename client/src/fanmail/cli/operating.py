"""What operators ask: `fanmail topics`, `peek`, `purge`, `end`, `brokers`, `drain`, `undrain`; a topic for `show`."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from fanmail.admin import Admin
from fanmail.admin_calls import MOST_PAGE
from fanmail.cli.common import (
    NOTHING,
    UNAVAILABLE,
    Server,
    json_option,
    ops_options,
    progress,
    say_json,
    say_messages,
    show,
    topic_argument,
    user_argument,
)
from fanmail.cli.words import age, short
from fanmail.cluster import Broker, Topic

TOPIC = ("topic", "messages", "bytes", "subscriptions", "oldest_age")
ONE_TOPIC = (*TOPIC, "broker", "settings", "oldest_held_by")
BROKER = (
    *("id", "state", "messages", "bytes", "oldest_age", "dead", "topics", "subscriptions", "leases", "waiting"),
    *("memory", "slots", "round_trip_ms"),
)
FORMATS = {"oldest_age": age, "bytes": short}
_SORTED_BY = {
    "messages": lambda topic: topic.messages,
    "bytes": lambda topic: topic.bytes,
    "subscriptions": lambda topic: topic.subscriptions,
    "oldest": lambda topic: topic.oldest_age,
}

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command()
@click.argument("prefix", default="")
@click.option(
    "--sort",
    type=click.Choice(["name", *_SORTED_BY]),
    default="name",
    show_default=True,
    help="Largest first, but names.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@json_option
@ops_options
def topics(prefix: str, sort: str, limit: int | None, as_json: bool, server: Server) -> None:
    """List topics, or those whose names begin with PREFIX. Exit code 3 where there are none.

    By name they come page by page; any other order looks at all of them first. Where brokers do not answer it lists
    those of the others, names the brokers, and the exit code is 6.
    """
    missing: set[str] = set()
    shown = 0
    with server.admin() as admin:
        pages = _pages(admin, prefix, limit if sort == "name" else None, missing)
        for page in pages if sort == "name" else [_largest(pages, sort, limit)]:
            if page:
                show([asdict(each) for each in page], as_json, TOPIC, FORMATS, header=not shown)
            shown += len(page)
    if missing:
        click.echo(f"fanmail: topics are missing: {', '.join(sorted(missing))} did not answer", err=True)
        raise SystemExit(UNAVAILABLE)
    if not shown:
        raise SystemExit(NOTHING)


def _pages(admin: Admin, prefix: str, limit: int | None, missing: set[str]) -> Iterator[tuple[Topic, ...]]:
    """Up to `limit` topics by name; `missing` gets the brokers that did not answer."""
    cursor: str | None = None
    left = limit
    while True:
        page = admin.topic_page(prefix, limit=min(left or MOST_PAGE, MOST_PAGE), cursor=cursor)
        missing.update(page.missing)
        yield page.topics
        cursor = page.cursor
        left = None if left is None else left - len(page.topics)
        if cursor is None or left == 0:
            return


def _largest(pages: Iterator[tuple[Topic, ...]], sort: str, limit: int | None) -> tuple[Topic, ...]:
    found: list[Topic] = []
    with progress("{task.fields[seen]:,} topics") as bar:
        task = bar.add_task("looking at all of them", total=None, seen=0)
        seen = 0
        for page in pages:
            seen += len(page)
            found.extend(page)
            if limit is not None:  # no more than that is kept
                found = heapq.nlargest(limit, found, _SORTED_BY[sort])
            bar.update(task, seen=seen)
    return tuple(sorted(found, key=_SORTED_BY[sort], reverse=True))


def show_topic(admin: Admin, topic: str, as_json: bool) -> None:
    """How a topic stands, its settings, and who holds the oldest message."""
    found = asdict(admin.topic(topic))
    if as_json:
        say_json(found)
        return
    own = found["own_settings"]
    settings = [f"{name}={value}{'' if own[name] is None else ' (own)'}" for name, value in found["settings"].items()]
    held = ", ".join(found["oldest_held_by"]) + (", ..." if found["oldest_held_by_more"] else "")
    lines = found | {"settings": ", ".join(settings), "oldest_held_by": held if found["messages"] else ""}
    shown = [{"what": name, "": FORMATS.get(name, str)(lines[name])} for name in ONE_TOPIC]
    show(shown, False, ("what", ""), header=False)


@click.command()
@topic_argument
@user_argument
@click.option("--count", "-n", type=click.IntRange(1, 100), default=10, show_default=True, help="At most so many.")
@json_option
@ops_options
def peek(topic: str, user: str, count: int, as_json: bool, server: Server) -> None:
    """Look at what USER has not done: what is leased first, then what waits. Takes nothing. Exit code 3 for none."""
    with server.admin() as admin:
        found = admin.peek(topic, user, count)
    say_messages(found, as_json)
    if not found:
        raise SystemExit(NOTHING)


@click.command()
@topic_argument
@user_argument
@yes_option
@json_option
@ops_options
def purge(topic: str, user: str, yes: bool, as_json: bool, server: Server) -> None:
    """Let go of all that USER has not done, what is leased too; says how many. Dead letters stay."""
    with server.admin() as admin:
        if not yes:
            stands = admin.subscription(topic, user)
            confirm(f"Let go of {stands.pending} messages that wait for {user!r} and {stands.leased} that are leased?")
        count = admin.purge(topic, user)
    say_json({"topic": topic, "user": user, "purged": count}) if as_json else click.echo(str(count))


@click.command()
@topic_argument
@yes_option
@json_option
@ops_options
def end(topic: str, yes: bool, as_json: bool, server: Server) -> None:
    """End TOPIC: all its subscriptions and what waits for them. Says how many subscriptions there were."""
    with server.admin() as admin:
        if not yes:
            found = admin.topic(topic)
            confirm(f"End {topic!r} with {found.subscriptions} subscriptions and {found.messages} messages?")
        count = admin.end_topic(topic)
    say_json({"topic": topic, "ended": count}) if as_json else click.echo(str(count))


def confirm(question: str) -> None:
    """Asks at a terminal. A script has to say --yes."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes")
    click.confirm(question, abort=True, err=True)


@click.command()
@json_option
@ops_options
def brokers(as_json: bool, server: Server) -> None:
    """Show all brokers."""
    with server.admin() as admin:
        found = admin.brokers()
    rows = [asdict(each) | {"state": each.state} if as_json else broker_row(each) for each in found]
    show(rows, as_json, BROKER, FORMATS | {"messages": short})


def broker_row(broker: Broker) -> dict[str, object]:
    """A broker for a table; gauges of one that does not answer are left out."""
    row: dict[str, object] = {"id": broker.id, "state": broker.state, "slots": broker.slots}
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


@click.command()
@click.argument("broker")
@ops_options
def drain(broker: str, server: Server) -> None:
    """BROKER takes no publishes and no new subscriptions, until undrain or until it starts again."""
    with server.admin() as admin:
        admin.drain(broker)


@click.command()
@click.argument("broker")
@ops_options
def undrain(broker: str, server: Server) -> None:
    """End that: BROKER takes everything again."""
    with server.admin() as admin:
        admin.undrain(broker)
