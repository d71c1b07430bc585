"""`fanmail subscribe`, `unsubscribe`, `show`, `stats` and `dead`: who receives what, and how that stands."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from fanmail.cli.common import (
    NOTHING,
    Server,
    both_options,
    json_option,
    say_json,
    say_messages,
    server_options,
    show,
    topic_argument,
    user_argument,
)
from fanmail.cli.operating import show_topic
from fanmail.client import Client
from fanmail.message import Message

STANDING = ("topic", "user", "pending", "leased", "dead", "next_id")
PAGE = 1000


@click.command()
@topic_argument
@user_argument
@click.option("--expires-after", type=float, help="Unsubscribed after so many seconds without a request; 0: never.")
@click.option("--max-deliveries", type=int, help="Leased so often and not done: a dead letter; 0: no limit.")
@json_option
@server_options
def subscribe(
    topic: str,
    user: str,
    expires_after: float | None,
    max_deliveries: int | None,
    as_json: bool,
    server: Server,
) -> None:
    """Subscribe USER to TOPIC, or change its settings. Again is harmless."""
    with server.connect() as client:
        created = client.subscribe(topic, user, expires_after=expires_after, max_deliveries=max_deliveries)
    if as_json:
        say_json({"topic": topic, "user": user, "created": created})
    else:
        click.echo("subscribed" if created else "was subscribed already")


@click.command()
@topic_argument
@user_argument
@server_options
def unsubscribe(topic: str, user: str, server: Server) -> None:
    """Unsubscribe USER from TOPIC; what it has not read is let go."""
    with server.connect() as client:
        client.unsubscribe(topic, user)


@click.command("show")
@topic_argument
@click.argument("users", nargs=-1)
@json_option
@both_options
def show_standing(topic: str, users: tuple[str, ...], as_json: bool, server: Server) -> None:
    """Show how subscriptions of USERS to TOPIC stand. Takes nothing.

    Without USERS: the topic, and who holds its oldest message, from the operations port.
    """
    if not users:
        with server.admin() as admin:
            show_topic(admin, topic, as_json)
        return
    with server.connect() as client:
        show([_standing(client, topic, user) for user in users], as_json, STANDING)


@click.command()
@topic_argument
@user_argument
@click.option("--every", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="Ends after so many lines; without it, never.")
@json_option
@server_options
def stats(topic: str, user: str, every: float, count: int | None, as_json: bool, server: Server) -> None:
    """Watch a subscription: a line every second with what waits, and how fast that grows or shrinks."""
    with server.connect() as client:
        before, began = _standing(client, topic, user), time.monotonic()
        if not as_json:
            click.echo(f"{'pending':>10} {'leased':>8} {'dead':>8} {'pending/s':>12}")
        lines = 0
        while count is None or lines < count:
            time.sleep(every)
            now, ended = _standing(client, topic, user), time.monotonic()
            rate = (int(str(now["pending"])) - int(str(before["pending"]))) / (ended - began)
            if as_json:
                say_json(now | {"pending_per_second": round(rate, 1)})
            else:
                click.echo(f"{now['pending']:>10} {now['leased']:>8} {now['dead']:>8} {rate:>+12,.1f}")
            before, began, lines = now, ended, lines + 1


def _standing(client: Client, topic: str, user: str) -> dict[str, object]:
    stands = client.stand(topic, user)
    return {
        "topic": topic,
        "user": user,
        "pending": stands.pending,
        "leased": stands.leased,
        "dead": stands.dead,
        "next_id": stands.next_id,
    }


@click.command()
@topic_argument
@user_argument
@click.option("--put-back", is_flag=True, help="All of them whose ttl is not over wait again.")
@click.option("--drop", is_flag=True, help="Drop all of them.")
@json_option
@server_options
def dead(topic: str, user: str, put_back: bool, drop: bool, as_json: bool, server: Server) -> None:
    """List dead letters of USER, put them back, or drop them. Exit code 3 where it was none."""
    if put_back and drop:
        raise click.UsageError("--put-back and --drop do not go together")
    with server.connect() as client:
        if put_back or drop:
            count = client.put_back_dead(topic, user) if put_back else client.drop_dead(topic, user)
            say_json({"count": count}) if as_json else click.echo(str(count))
        else:
            count = say_messages(_letters(client, topic, user), as_json)
    if not count:
        raise SystemExit(NOTHING)


def _letters(client: Client, topic: str, user: str) -> Iterator[Message]:
    after: str | None = "0"
    while after is not None:
        page = client.dead(topic, user, PAGE, after=after)
        yield from page
        after = page.next_after
