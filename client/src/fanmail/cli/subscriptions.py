"""`fanmail subscribe`, `unsubscribe`, `status`, `stats` and `dead`: subscriptions and their status."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from fanmail.cli.admin import show_topic
from fanmail.cli.exit_codes import NOTHING
from fanmail.cli.options import (
    Server,
    both_options,
    json_option,
    limit_option,
    seconds_option,
    server_options,
    topic_argument,
    user_argument,
)
from fanmail.cli.output import print_messages, print_result, print_rows
from fanmail.client import Client
from fanmail.message import Message, SubscriptionStatus

STATUS_COLUMNS = ("topic", "user", "pending", "leased", "dead", "next_id")
PAGE = 1000


@click.command()
@topic_argument
@user_argument
@click.option(
    "--expires-after", type=float, help="Seconds without a request after which the subscription ends. 0: never."
)
@click.option(
    "--max-deliveries",
    type=int,
    help="Deliveries after which an unacknowledged message becomes a dead letter. 0: never.",
)
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
    """Subscribe USER to TOPIC, or change the settings of the subscription. Repeating it is harmless."""
    with server.connect() as client:
        created = client.subscribe(topic, user, expires_after=expires_after, max_deliveries=max_deliveries)
    text = "subscribed" if created else "was already subscribed"
    print_result({"topic": topic, "user": user, "created": created}, as_json, text)


@click.command()
@topic_argument
@user_argument
@server_options
def unsubscribe(topic: str, user: str, server: Server) -> None:
    """Unsubscribe USER from TOPIC, and delete the unread messages."""
    with server.connect() as client:
        client.unsubscribe(topic, user)


@click.command("status")
@topic_argument
@click.argument("users", nargs=-1)
@json_option
@both_options
def show_status(topic: str, users: tuple[str, ...], as_json: bool, server: Server) -> None:
    """Show the status of the subscriptions of USERS to TOPIC, without changing it.

    Without USERS, show the topic and who has not read its oldest message, from the operations port.
    """
    if not users:
        with server.admin() as admin:
            show_topic(admin, topic, as_json)
        return
    with server.connect() as client:
        print_rows([_status_row(topic, user, client.status(topic, user)) for user in users], as_json, STATUS_COLUMNS)


@click.command()
@topic_argument
@user_argument
@seconds_option("--every", "Seconds between lines.", 1.0, least=0.01)
@limit_option("Stop after this many lines. Default: no limit.")
@json_option
@server_options
def stats(topic: str, user: str, every: float, limit: int | None, as_json: bool, server: Server) -> None:
    """Watch a subscription: print its status and the growth of its backlog at regular intervals."""
    with server.connect() as client:
        before, began = client.status(topic, user), time.monotonic()
        if not as_json:
            click.echo(f"{'pending':>10} {'leased':>8} {'dead':>8} {'pending/s':>12}")
        lines = 0
        while limit is None or lines < limit:
            time.sleep(every)
            now, ended = client.status(topic, user), time.monotonic()
            rate = (now.pending - before.pending) / (ended - began)
            fields = _status_row(topic, user, now) | {"pending_per_second": round(rate, 1)}
            print_result(fields, as_json, f"{now.pending:>10} {now.leased:>8} {now.dead:>8} {rate:>+12,.1f}")
            before, began, lines = now, ended, lines + 1


def _status_row(topic: str, user: str, status: SubscriptionStatus) -> dict[str, object]:
    return {
        "topic": topic,
        "user": user,
        "pending": status.pending,
        "leased": status.leased,
        "dead": status.dead,
        "next_id": status.next_id,
    }


@click.command()
@topic_argument
@user_argument
@click.option("--put-back", is_flag=True, help="Redeliver all of them whose ttl has not passed.")
@click.option("--drop", is_flag=True, help="Delete all of them.")
@json_option
@server_options
def dead(topic: str, user: str, put_back: bool, drop: bool, as_json: bool, server: Server) -> None:
    """List, redeliver or delete the dead letters of USER. Exit code 3 if there are none."""
    if put_back and drop:
        raise click.UsageError("--put-back and --drop cannot be combined")
    with server.connect() as client:
        if put_back or drop:
            count = client.put_back_dead(topic, user) if put_back else client.drop_dead(topic, user)
            print_result({"count": count}, as_json, str(count))
        else:
            count = print_messages(_dead_letters(client, topic, user), as_json)
    if not count:
        raise SystemExit(NOTHING)


def _dead_letters(client: Client, topic: str, user: str) -> Iterator[Message]:
    after: str | None = "0"
    while after is not None:
        page = client.dead(topic, user, PAGE, after=after)
        yield from page
        after = page.next_after
