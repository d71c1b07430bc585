"""`fanmail forward`: webhooks, one target or a file of many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from fanmail.aio import AsyncClient
from fanmail.cli.completion import complete_topic
from fanmail.cli.exit_codes import FAILED, GONE, INTERRUPTED
from fanmail.cli.options import Server, daemon_options, seconds_option
from fanmail.forward.config_file import read_targets
from fanmail.forward.log_lines import logging_lines
from fanmail.forward.process import Forwarding
from fanmail.forward.target import MAX_CONCURRENCY, OPTIONS, Target, make_target
from fanmail.retry import Retries
from fanmail.transport import base_urls

DEFAULTS = Target("", "", "")
EXTRA = "--metrics-port needs the package prometheus-client: pip install 'fanmail[forward]'"


def target_options(command: Any) -> Any:
    """Add the options of a target, with its defaults."""
    amount = click.IntRange(1, MAX_CONCURRENCY)
    for option in reversed(
        (
            click.option(
                "--secrets-file", default="", metavar="FILE", help="File of secrets to sign with, one per line."
            ),
            click.option("--concurrency", type=amount, default=1, show_default=True, help="Requests at once, at most."),
            click.option("--ordered", is_flag=True, help="Send a message only when all earlier ones are done."),
            click.option("--batch", type=amount, help="Messages in one request, at most, as NDJSON."),
            seconds_option("--timeout", "Seconds that a request may take.", DEFAULTS.timeout, least=0.1),
            seconds_option("--lease", "Seconds; extended during a request.", DEFAULTS.lease, least=1),
            seconds_option("--delay", "Seconds before the second attempt, at most; then doubled.", DEFAULTS.delay),
            seconds_option("--max-delay", "Upper limit of the doubled --delay.", DEFAULTS.max_delay),
            click.option("--unsubscribe-on-gone", is_flag=True, help="Unsubscribe USER when the target answers 410."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("topic", required=False, shell_complete=complete_topic)
@click.argument("user", required=False)
@click.argument("target_url", metavar="[URL]", required=False)
@click.option("--config", metavar="FILE", help="TOML file of many targets, instead of TOPIC, USER and URL.")
@target_options
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Port of /metrics for Prometheus. Default: none.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address of that port.")
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
              help="Lines on standard error; auto: text at a terminal, else JSON.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["info", "warning", "error"]), default="info", show_default=True,
              help="Lowest level that is logged.")  # fmt: skip
@daemon_options
@click.pass_context
def forward(ctx: click.Context, /, config: str | None, server: Server, **given: Any) -> None:
    """Send every message of USER to URL by POST, and acknowledge it when the answer is 2xx.

    The body is sent as it is, with its Content-Type and the headers that were published with it, and webhook-id,
    webhook-timestamp and webhook-signature of Standard Webhooks. 410 ends it with exit code 3. After 429 and 503 the
    target is left alone for Retry-After. After anything else, a redirect or no answer within --timeout the message is
    given back and sent again after --delay, which doubles with each attempt. A target that fails is asked less and
    less often, at least once per minute. SIGTERM lets requests end and gives back all other leases.

    With --config, options on the command line are defaults for targets that do not have them in the file.
    """
    targets = _targets(config, given)
    try:
        forwarding = Forwarding(targets, lambda number, retries: _connect(server, number, retries))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _serve_metrics(forwarding, given["metrics_host"], given["metrics_port"])
    with logging_lines(logging.getLogger("fanmail.forward"), given["log_format"], given["log_level"]):
        asyncio.run(forwarding.run())
    if forwarding.stopped:
        ctx.exit(INTERRUPTED if forwarding.stopped == 2 else 0)
    ctx.exit(GONE if forwarding.is_gone else FAILED)


def _targets(config: str | None, given: dict[str, Any]) -> Sequence[Target]:
    """Return the targets of the arguments or the file. Raises UsageError."""
    options = {name: given[name] for name in OPTIONS if given[name] is not None}
    arguments = {"topic": given["topic"], "user": given["user"], "url": given["target_url"]}
    if config and any(arguments.values()):
        raise click.UsageError("give either TOPIC, USER and URL, or --config")
    if not config and not all(arguments.values()):
        raise click.UsageError("give TOPIC, USER and URL, or --config")
    try:
        return read_targets(config, options) if config else [make_target(arguments | options)]
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _connect(server: Server, number: int, retries: Retries) -> AsyncClient:
    urls = base_urls(server.url)
    first = number % max(len(urls), 1)
    return replace(server, url=",".join(urls[first:] + urls[:first])).connect_async(retries)


def _serve_metrics(forwarding: Forwarding, host: str, port: int | None) -> None:
    if port is None:
        return
    try:
        from fanmail.forward.exposition import serve_metrics
    except ImportError:
        raise click.UsageError(EXTRA) from None
    try:
        serve_metrics(host, port, forwarding.tallies, forwarding.durations)
    except OSError as error:
        raise click.UsageError(f"--metrics-port: {host}:{port}: {error.strerror}") from None
