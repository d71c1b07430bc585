"""Options and arguments that several subcommands have, and the clients that they make."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from fanmail.admin import Admin
from fanmail.aio import AsyncClient
from fanmail.api_key import KEY_FILE_VARIABLE, KEY_VARIABLE, read_api_key
from fanmail.cli.completion import complete_topic
from fanmail.cli.formatting import printable
from fanmail.cli.profile_store import is_key_for
from fanmail.client import Client
from fanmail.encoding import redacted
from fanmail.errors import FanmailError
from fanmail.retry import Retries
from fanmail.transport import DEFAULT_OPS_URL, DEFAULT_URL, OPS_URL, URL

FORMER_NAMES = {
    "count": "limit",
    "most-delay": "max-delay",
    "drain": "pause",
    "undrain": "resume",
    "show": "status",
    "stand": "status",
    "end": "delete",
}
"""Former names of options and subcommands, which stay accepted."""
SHORT_NAMES = {"sub": "subscribe", "unsub": "unsubscribe", "pub": "publish"}

C = TypeVar("C")
Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def current_name(name: str) -> str:
    """Return the full current name of an option or a subcommand. This is click's `token_normalize_func`."""
    return FORMER_NAMES.get(name) or SHORT_NAMES.get(name, name)


def _url_option(name: str, variable: str, default: str, what: str) -> Decorator:
    text = f"Base URLs of {what}, separated by commas."
    return click.option(name, envvar=variable, default=default, show_default=True, show_envvar=True, help=text)


_public_url_option = _url_option("--url", URL, DEFAULT_URL, "fronts")
_ops_url_option = _url_option("--ops-url", OPS_URL, DEFAULT_OPS_URL, "operations ports")
_key_option = click.option(
    "--api-key-file",
    metavar="FILE",
    help=f"File whose first line is the API key. Default: {KEY_VARIABLE}, else the file in {KEY_FILE_VARIABLE}.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
yes_option: Decorator = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
topic_argument: Decorator = click.argument("topic", shell_complete=complete_topic)
user_argument: Decorator = click.argument("user")


def seconds_option(name: str, text: str, default: float, least: float = 0) -> Decorator:
    """Return an option of at least `least` seconds, with this help text."""
    return click.option(name, type=click.FloatRange(min=least), default=default, show_default=True, help=text)


def limit_option(text: str, **attributes: Any) -> Decorator:
    """Return the option `--limit`, the greatest number of something, with this help text."""
    attributes.setdefault("type", click.IntRange(min=1))
    return click.option("--limit", "-n", help=text, **attributes)


WITHIN_S, WITHIN_AT_TERMINAL_S = 30.0, 5.0
"""How long commands retry by default: a script can wait for a restart, somebody at a terminal wants to know."""
OUTAGE_S = 15.0
"""Retries that are further apart than this belong to different outages."""
_within_option = click.option(
    "--within",
    type=click.FloatRange(min=0),
    show_default=f"{WITHIN_S:g}, at a terminal {WITHIN_AT_TERMINAL_S:g}",
    help="Seconds to keep retrying while the server is unavailable. 0: one try; inf: no limit.",
)


@dataclass(frozen=True, slots=True)
class Server:
    """The servers to connect to, and the credentials. Commands use one or both of the URLs."""

    api_key_file: str | None
    within: float | None = 0.0
    url: str = DEFAULT_URL
    ops_url: str = DEFAULT_OPS_URL

    def connect(self) -> Client:
        """Return a client of the public ports."""
        return self._client(Client, "url", self._retries())

    def connect_async(self, retries: Retries) -> AsyncClient:
        """Return a client of the public ports for asyncio."""
        return self._client(AsyncClient, "url", retries)

    def admin(self, retries: Retries | None = None) -> Admin:
        """Return a client of the operations ports, with `retries` instead of `--within` if they are given."""
        return self._client(Admin, "ops_url", retries or self._retries())

    def _retries(self) -> Retries:
        """Return retries that are reported, once for an outage: without a word the command would seem to hang."""
        within = self.within
        if within is None:
            within = WITHIN_AT_TERMINAL_S if is_terminal() else WITHIN_S
        reported_s = -math.inf

        def report(error: FanmailError) -> None:
            nonlocal reported_s
            before, reported_s = reported_s, time.monotonic()
            if reported_s - before > OUTAGE_S:
                click.echo(f"fanmail: {printable(str(error))}: retrying for {within:g} s (--within)", err=True)

        return Retries(total=within, on_retry=report)

    def _client(self, kind: Callable[..., C], option: str, retries: Retries) -> C:
        """Return a client of the URLs of this option."""
        urls = self.url if option == "url" else self.ops_url
        try:
            path = self._key_file_for(option, urls)
            key = read_api_key(path, "--api-key-file") if path else None
            return kind(urls, key, retries=retries)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def _key_file_for(self, option: str, urls: str) -> str | None:
        """Return the key file, if its key may be sent to these URLs: that of a profile is for its own URLs only."""
        ctx = click.get_current_context()
        is_of_profile = ctx.get_parameter_source("api_key_file") == click.core.ParameterSource.DEFAULT_MAP
        if self.api_key_file and is_of_profile and not is_key_for(ctx.find_root().obj, option, urls):
            text = f"the key of the profile is not sent to {redacted(urls)}, which is not in the profile"
            click.echo(f"fanmail: {text}: --api-key-file sends it", err=True)
            return None
        return self.api_key_file


def is_terminal() -> bool:
    """Return whether somebody reads what goes to standard error."""
    return sys.stderr.isatty()


def grouped(name: str, kind: Callable[..., object]) -> Decorator:
    """Return a decorator that passes the options named like the fields of `kind` as one argument, called `name`."""
    names = tuple(kind.__annotations__)

    def decorate(command: Command) -> Command:
        @wraps(command)
        def decorated(**given: Any) -> Any:
            fields = {each: given.pop(each) for each in names if each in given}
            return command(**given, **{name: kind(**fields)})

        return decorated

    return decorate


_server_argument = grouped("server", Server)


def server_options(command: Command) -> Command:
    """Add `--url`, `--api-key-file` and `--within`, which the command gets as the `Server` `server`."""
    return _public_url_option(_key_option(_within_option(_server_argument(command))))


def ops_options(command: Command) -> Command:
    """Add the options of `server_options`, with `--ops-url` instead of `--url`."""
    return _ops_url_option(_key_option(_within_option(_server_argument(command))))


def watch_options(command: Command) -> Command:
    """Add the options of `ops_options` without `--within`, for a command that retries by itself."""
    return _ops_url_option(_key_option(_server_argument(command)))


def daemon_options(command: Command) -> Command:
    """Add the options of `server_options` without `--within`, for a command that retries without end."""
    return _public_url_option(_key_option(_server_argument(command)))


def both_options(command: Command) -> Command:
    """Add the options of a command that connects to both ports."""
    return _public_url_option(ops_options(command))
