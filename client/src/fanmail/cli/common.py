"""What all subcommands have in common: options, the client, output, exit codes."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fanmail import errors
from fanmail.admin import Admin
from fanmail.api_key import KEY, KEY_FILE, read_api_key
from fanmail.cli.words import body_text, printable
from fanmail.client import Client
from fanmail.cluster import Peeked
from fanmail.message import Message
from fanmail.retry import Retries
from fanmail.transport import DEFAULT_OPS_URL, DEFAULT_URL, OPS_URL, URL

OK, FAILED, USAGE, NOTHING, NOT_FOUND, REFUSED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
EXIT_CODES = """\
\b
Exit codes: 0 ok; 1 failed; 2 usage, or a request that is wrong; 3 nothing there;
4 no such subscription, topic, delayed publish or broker; 5 refused: a ceiling or rights;
6 unavailable, or the outcome is unknown; 130 interrupted.
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

LOOKED_AT = ("id", "state", "attempt", "time", "type", "bytes", "body")

C = TypeVar("C")


def exit_code(error: errors.FanmailError) -> int:
    """The exit code for an error of the client."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


_url_option = click.option(
    "--url",
    envvar=URL,
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Base URLs of fronts, with commas between.",
)
_ops_url_option = click.option(
    "--ops-url",
    envvar=OPS_URL,
    default=DEFAULT_OPS_URL,
    show_default=True,
    show_envvar=True,
    help="Base URLs of operations ports, with commas between.",
)
_key_option = click.option(
    "--api-key-file",
    metavar="FILE",
    help=f"Its first line is the API key; otherwise {KEY}, or the file that {KEY_FILE} names.",
)
_within_option = click.option(
    "--within",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to go on trying while the server is not available; 0: one try, inf: for ever.",
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where to, and as whom; which of the two URLs counts is the command's matter."""

    api_key_file: str | None
    within: float = 0.0
    url: str = DEFAULT_URL
    ops_url: str = DEFAULT_OPS_URL

    def connect(self) -> Client:
        """A client of the public ports."""
        return self._made(Client, self.url, Retries(total=self.within))

    def admin(self, retries: Retries | None = None) -> Admin:
        """A client of the operations ports; `retries` where `--within` is not what counts."""
        return self._made(Admin, self.ops_url, retries or Retries(total=self.within))

    def _made(self, kind: Callable[..., C], urls: str, retries: Retries) -> C:
        try:
            key = read_api_key(self.api_key_file, "--api-key-file") if self.api_key_file else None
            return kind(urls, key, retries=retries)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


Command = Callable[..., Any]


def server_options(command: Command) -> Command:
    """Adds `--url`, `--api-key-file` and `--within`: the command gets them as a `Server`, by the name `server`."""
    return _url_option(_key_option(_within_option(_with_server(command))))


def ops_options(command: Command) -> Command:
    """The same for the operations port, with `--ops-url`."""
    return _ops_url_option(_key_option(_within_option(_with_server(command))))


def watching_options(command: Command) -> Command:
    """The same for a command that goes on trying by itself: without `--within`."""
    return _ops_url_option(_key_option(_with_server(command)))


def both_options(command: Command) -> Command:
    """For a command that asks both ports."""
    return _url_option(ops_options(command))


def _with_server(command: Command) -> Command:
    @wraps(command)
    def wrapped(**given: Any) -> Any:
        of_server = {each.name: given.pop(each.name) for each in fields(Server) if each.name in given}
        return command(**given, server=Server(**of_server))

    return wrapped


json_option = click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
topic_argument = click.argument("topic")
user_argument = click.argument("user")


def wait_out(asked: float, seconds: float) -> None:
    """Waits the rest of an empty long poll that was `asked` then: a server full of waiters answers it at once."""
    time.sleep(max(asked + seconds - time.monotonic(), 0.0))


def show(
    rows: Iterable[Mapping[str, object]],
    as_json: bool,
    columns: Sequence[str],
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    header: bool = True,
) -> None:
    """Prints rows as JSON lines or as a table with these columns; `formats` are for cells of a table."""
    if as_json:
        for row in rows:
            say_json(row)
    else:
        # Without a terminal a table is as wide as it needs to be, for what reads it.
        console = Console(markup=False, highlight=False)
        wide = console if console.is_terminal else Console(width=10_000, markup=False, highlight=False)
        wide.print(table(rows, columns, formats, header))


def table(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    header: bool = True,
    one_line: bool = False,
) -> Table:
    """A table of what rows have under these names; numbers to the right. `one_line`: cells are cut, never folded."""
    rows = list(rows)
    made = Table(box=None, header_style="bold", pad_edge=False, show_header=header)
    for name in columns:
        is_number = name in (formats or {}) or any(isinstance(row.get(name), int | float) for row in rows)
        words = name.replace("_", " ") if one_line else name
        # Columns that may wrap are the ones that give way where there is no room; the cells themselves never do.
        made.add_column(words, justify="right" if is_number else "left", no_wrap=one_line and is_number)
    for row in rows:
        cells = [_cell(row.get(name), (formats or {}).get(name)) for name in columns]
        made.add_row(*[Text(each, no_wrap=one_line, overflow="ellipsis" if one_line else None) for each in cells])
    return made


def _cell(value: object, words: Callable[[Any], str] | None) -> str:
    if value is None:
        return ""
    if words:
        return printable(words(value))
    return f"{value:,.1f}" if isinstance(value, float) else printable(str(value))


def say_json(row: Mapping[str, object]) -> None:
    """One JSON object on a line of standard output, at once."""
    sys.stdout.flush()
    line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")  # in every locale, for every text
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


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


def say_messages(messages: Iterable[Message], as_json: bool) -> int:
    """Messages that were only looked at, as JSON lines or as a table with the beginnings of their bodies: how many."""
    rows = []
    for message in messages:
        row = as_object(message)
        if isinstance(message, Peeked):
            row = {"state": message.state} | row
        rows.append(row if as_json else row | {"bytes": len(message.body), "body": body_text(message.body)})
    if rows:
        show(rows, as_json, [name for name in LOOKED_AT if name in rows[0]])
    return len(rows)


def say_message(message: Message, as_json: bool) -> None:
    """A message on standard output: its body and a line's end, or a JSON object."""
    if as_json:
        say_json(as_object(message))
        return
    out = sys.stdout.buffer
    out.write(message.body if message.body.endswith(b"\n") else message.body + b"\n")
    out.flush()


def progress(*columns: str, beside_output: bool = False) -> Progress:
    """A progress bar on standard error, where that is a terminal; `columns` are texts with `{task.fields[...]}`.
    `beside_output`: not where standard output is the same terminal.
    """
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
        disable=not console.is_terminal or (beside_output and sys.stdout.isatty()),
    )
