"""What all subcommands have in common: options, the client, output, exit codes."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fanmail import errors
from fanmail.client import Client
from fanmail.message import Message
from fanmail.retry import Retries
from fanmail.transport import DEFAULT_URL

OK, FAILED, USAGE, NOTHING, NOT_FOUND, REFUSED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
EXIT_CODES = """\
\b
Exit codes: 0 ok; 1 failed; 2 usage, or a request that is wrong; 3 nothing there;
4 no such subscription; 5 refused: a ceiling or rights; 6 unavailable, or the
outcome is unknown; 130 interrupted.
"""
_CODES: tuple[tuple[type[errors.FanmailError], int], ...] = (
    (errors.NotFound, NOT_FOUND),
    (errors.Refused, REFUSED),
    (errors.Denied, REFUSED),
    (errors.TooLarge, REFUSED),
    (errors.KeyReused, FAILED),
    (errors.BadRequest, USAGE),
    (errors.Unavailable, UNAVAILABLE),
    (errors.OutcomeUnknown, UNAVAILABLE),
)

F = TypeVar("F", bound=Callable[..., Any])


def exit_code(error: errors.FanmailError) -> int:
    """The exit code for an error of the client."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def server_options(command: F) -> F:
    """Adds `--url` and `--within`, for `connect`."""
    url = click.option(
        "--url",
        envvar="FANMAIL_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="Base URLs of fronts, with commas between.",
    )
    within = click.option(
        "--within",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        help="Seconds to go on trying while the server is not available; 0: one try.",
    )
    return url(within(command))


json_option = click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
topic_argument = click.argument("topic")
user_argument = click.argument("user")


def connect(url: str, within: float) -> Client:
    """A client with what `server_options` were given."""
    try:
        return Client(url, retries=Retries(total=within))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def show(rows: Iterable[Mapping[str, object]], as_json: bool, columns: Iterable[str]) -> None:
    """Prints rows as JSON lines or as a table with these columns."""
    names = list(columns)
    if as_json:
        for row in rows:
            say_json(row)
        return
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in names])
    # Without a terminal a table is as wide as it needs to be, for what reads it.
    console = Console(markup=False, highlight=False)
    console.print(table) if console.is_terminal else Console(width=10_000, markup=False, highlight=False).print(table)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else str(value)


def say_json(row: Mapping[str, object]) -> None:
    """One JSON object on a line of standard output, at once."""
    sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def as_object(message: Message) -> dict[str, object]:
    """A message for JSON, as the server has it in NDJSON."""
    row: dict[str, object] = {
        "id": message.id,
        "time": message.time.isoformat(timespec="milliseconds") if message.time else None,
        "attempt": message.attempt,
        "type": message.type,
    }
    if message.headers:
        row["meta"] = dict(message.headers)
    try:
        return row | {"text": message.body.decode()}
    except UnicodeDecodeError:
        return row | {"base64": base64.b64encode(message.body).decode()}


def say_message(message: Message, as_json: bool) -> None:
    """A message on standard output: its body and a line's end, or a JSON object."""
    if as_json:
        say_json(as_object(message))
        return
    out = sys.stdout.buffer
    out.write(message.body if message.body.endswith(b"\n") else message.body + b"\n")
    out.flush()


def progress(*columns: str) -> Progress:
    """A progress bar on standard error, where that is a terminal; `columns` are texts with `{task.fields[...]}`."""
    console = Console(stderr=True)
    texts = [TextColumn(each) for each in columns]
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        *texts,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
