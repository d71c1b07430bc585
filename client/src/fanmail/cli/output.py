"""What subcommands print: tables, JSON lines, messages, and progress on standard error."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fanmail.cli.formatting import format_body, printable
from fanmail.cli.template import BODY, Template
from fanmail.cluster import Peeked
from fanmail.message import Message

Formats = dict[str, Callable[[Any], str]]
"""Formatters of table cells by column."""
UNLIMITED_WIDTH = 10_000
"""Without a terminal, tables are as wide as their content needs, for programs that read them."""
MESSAGE_COLUMNS = ("id", "state", "attempt", "time", "type", "bytes", "body")


def print_rows(
    rows: Iterable[Mapping[str, object]],
    as_json: bool,
    columns: Sequence[str],
    formats: Formats | None = None,
    header: bool = True,
) -> None:
    """Print rows as JSON lines, or as a table with these columns and formats."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH, markup=False, highlight=False)
    console.print(table(rows, columns, formats, header))


def print_result(fields: Mapping[str, object], as_json: bool, text: str) -> None:
    """Print the result of a command, as a JSON object or as text."""
    if as_json:
        print_json(fields)
    else:
        click.echo(text)


def table(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    formats: Formats | None = None,
    header: bool = True,
    one_line: bool = False,
) -> Table:
    """Return a table of the rows' values in these columns, with numbers right-aligned.

    With `one_line`, cells are truncated instead of wrapped, and names of columns have blanks instead of underscores.
    """
    rows, formats = list(rows), formats or {}
    result = Table(box=None, header_style="bold", pad_edge=False, show_header=header)
    for name in columns:
        is_number = name in formats or any(isinstance(row.get(name), int | float) for row in rows)
        title = name.replace("_", " ") if one_line else name
        # Only columns that may wrap shrink when there is not enough room; their cells, however, never wrap.
        result.add_column(title, justify="right" if is_number else "left", no_wrap=one_line and is_number)
    for row in rows:
        cells = [_cell(row.get(name), formats.get(name)) for name in columns]
        result.add_row(*[Text(cell, no_wrap=one_line, overflow="ellipsis" if one_line else None) for cell in cells])
    return result


def _cell(value: object, formatter: Callable[[Any], str] | None) -> str:
    if value is None:
        return ""
    if formatter:
        return printable(formatter(value))
    return f"{value:,.1f}" if isinstance(value, float) else printable(str(value))


def print_json(row: Mapping[str, object]) -> None:
    """Print a JSON object on one line, flushed at once, as UTF-8 in every locale."""
    sys.stdout.flush()
    line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def content_fields(body: bytes) -> dict[str, object]:
    """Return a body as the JSON field `text` if it is UTF-8, else as `base64`."""
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def message_fields(message: Message) -> dict[str, object]:
    """Return a message as an object for JSON, in the format of the server's NDJSON."""
    fields: dict[str, object] = {
        "id": message.id,
        "time": message.time.isoformat(timespec="milliseconds") if message.time else None,
        "attempt": message.attempt,
        "type": message.type,
    }
    if message.headers:
        fields["meta"] = dict(message.headers)
    return fields | content_fields(message.body)


def print_messages(messages: Iterable[Message], as_json: bool) -> int:
    """Print messages as JSON lines, or as a table with the beginning of each body. Return their number."""
    rows = []
    for message in messages:
        row = message_fields(message)
        if isinstance(message, Peeked):
            row = {"state": message.state} | row
        rows.append(row if as_json else row | {"bytes": len(message.body), "body": format_body(message.body)})
    if rows:
        print_rows(rows, as_json, [name for name in MESSAGE_COLUMNS if name in rows[0]])
    return len(rows)


Print = Callable[[Message], None]


def message_printer(as_json: bool, template: str | None, at_terminal: str) -> Print:
    """Return a function that prints a message, flushed at once: as JSON, by a template, or as its body.

    At a terminal the template is `at_terminal` by default. Raises UsageError for a template that cannot be used.
    """
    if as_json and template is not None:
        raise click.UsageError("--json and --format cannot be combined")
    if as_json:
        return lambda message: print_json(message_fields(message))
    try:
        chosen = Template(template if template is not None else at_terminal if sys.stdout.isatty() else BODY)
    except ValueError as error:
        raise click.UsageError(f"--format {template!r}: {error}") from None

    def print_text(message: Message) -> None:
        sys.stdout.buffer.write(chosen.render(message))
        sys.stdout.buffer.flush()

    return print_text


def progress(*columns: str, beside_output: bool = False) -> Progress:
    """Return a progress bar on standard error, which is shown only on a terminal.

    `columns` are texts with `{task.fields[...]}`. With `beside_output` the bar is not shown either if standard output
    is a terminal, too.
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
