"""`fanmail top`: a live view of the cluster."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import click
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from fanmail.cli.admin import broker_row
from fanmail.cli.cluster_watch import ClusterSnapshot, ClusterWatcher, Rates
from fanmail.cli.formatting import format_duration, format_number, format_rate, printable
from fanmail.cli.options import Server, json_option, limit_option, seconds_option, watch_options
from fanmail.cli.output import UNLIMITED_WIDTH, Formats, print_json, table
from fanmail.cluster import TopicDetails
from fanmail.errors import FanmailError, OutcomeUnknown, ServerFault, Unavailable
from fanmail.retry import Retries

RETRIES = Retries(total=2.0, base=0.1, max_pause=0.5)
"""An unreachable front delays a snapshot by no more than this; the next snapshot tries again."""
REDRAW_S = 0.5
"""The interval at which a new window size and the age of an error become visible."""
BROKER_COLUMNS = (
    *("id", "state", "in/s", "out/s", "messages", "bytes", "oldest_age", "dead", "topics", "subscriptions", "leases"),
    *("waiting", "memory", "round_trip_ms"),
)
NARROW_BROKER_COLUMNS = ("id", "state", "in/s", "out/s", "messages", "oldest_age", "dead", "leases", "memory")
"""Those that a narrow window has room for."""
BROKER_TABLE_WIDTH = 118
"""The width in characters that `BROKER_COLUMNS` may need."""
DEEPEST_COLUMNS = ("deepest topics", "messages", "bytes", "subscriptions", "oldest_age")
OLDEST_COLUMNS = ("oldest topics", "oldest_age", "messages", "held by")
SLOWEST_COLUMNS = ("slowest subscribers", "of topic", "oldest_age", "pending", "leased", "dead")
FORMATS: Formats = {
    "oldest_age": format_duration,
    "bytes": format_number,
    "messages": format_number,
    "pending": format_number,
    "in/s": format_rate,
    "out/s": format_rate,
}
FIXED_LINES = 4 * 2 + 1
"""The lines of a screen besides rows: a heading and a blank line for each of four tables, and the last line."""


class Screen:
    """What is drawn: the last snapshot, and the error of the attempt after it, if any."""

    def __init__(self, rows: int, clock: Callable[[], float]) -> None:
        """Show `rows` entries per list if there is room. `clock` returns monotonic seconds."""
        self._rows = rows
        self._clock = clock
        self.snapshot: ClusterSnapshot | None = None
        self.error: FanmailError | None = None
        """Why the last attempt to take a snapshot failed."""
        self._failing_since = 0.0

    def succeeded(self, snapshot: ClusterSnapshot) -> None:
        """Show a new snapshot."""
        self.snapshot, self.error = snapshot, None

    def failed(self, error: FanmailError) -> None:
        """Show an error beside the last snapshot and its time."""
        if self.error is None:
            self._failing_since = self._clock()
        self.error = error

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head, snapshot = self._head(), self.snapshot
        yield head
        if snapshot is not None:
            used = FIXED_LINES + len(head.wrap(console, options.max_width)) + len(snapshot.brokers)
            height = console.height if console.is_terminal else UNLIMITED_WIDTH
            yield from _tables(snapshot, max(min(self._rows, (height - used) // 3), 1), options.max_width)

    def _head(self) -> Text:
        snapshot = self.snapshot
        if self.error is None:
            return Text(_summary(snapshot) if snapshot else "fanmail: waiting for the first figures ...", "bold")
        failing_s = self._clock() - self._failing_since
        duration = f" for {format_duration(failing_s)}" if failing_s >= 1 else ""
        stale = f"; the figures are of {snapshot.at:%H:%M:%S}" if snapshot else ""
        return Text(printable(f"no answer{duration}{stale}: {self.error}"), "bold red")


def _summary(snapshot: ClusterSnapshot) -> str:
    up = sum(each.up for each in snapshot.brokers)
    is_partial = snapshot.examined < snapshot.topics
    examined = f", {format_number(snapshot.examined)} examined so far" if is_partial else ""
    published, delivered = snapshot.total_rate("published"), snapshot.total_rate("delivered")
    messages, content = snapshot.total("messages"), snapshot.total("content_bytes")
    parts = [
        f"{snapshot.at:%H:%M:%S}  {up} of {len(snapshot.brokers)} brokers up",
        f"in {format_rate(published)}/s  out {format_rate(delivered)}/s",
        f"{format_number(messages)} messages ({format_number(content)} bytes)",
        f"oldest {format_duration(snapshot.oldest_age) or 'none'}",
        f"{format_number(snapshot.total('dead_letters'))} dead letters",
        f"{format_number(snapshot.topics)} topics{examined}",
    ]
    return "   ".join(parts)


def _tables(snapshot: ClusterSnapshot, rows: int, width: int) -> Iterator[RenderableType]:
    brokers = [broker_row(each) | _rates(snapshot.rates.get(each.id, Rates())) for each in snapshot.brokers]
    topics = [_topic_row(each) for each in snapshot.deepest[:rows]]
    oldest = [_topic_row(each) for each in snapshot.oldest[:rows]]
    slowest = [
        {
            "slowest subscribers": each.subscription.user,
            "of topic": each.topic,
            "oldest_age": each.subscription.oldest_age,
            "pending": each.subscription.pending,
            "leased": each.subscription.leased,
            "dead": each.subscription.dead,
        }
        for each in snapshot.slowest[:rows]
    ]
    tables = (
        (brokers, BROKER_COLUMNS if width >= BROKER_TABLE_WIDTH else NARROW_BROKER_COLUMNS),
        (topics, DEEPEST_COLUMNS),
        (oldest, OLDEST_COLUMNS),
        (slowest, SLOWEST_COLUMNS),
    )
    for lines, columns in tables:
        yield Text()
        yield table(lines, columns, FORMATS, one_line=True)


def _topic_row(topic: TopicDetails) -> dict[str, object]:
    """Return a row for the tables of deepest and oldest topics, each of which shows some of its columns."""
    return {
        "deepest topics": topic.topic,
        "oldest topics": topic.topic,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "subscriptions": topic.subscriptions,
        "oldest_age": topic.oldest_age,
        "held by": ", ".join(topic.oldest_held_by) + (", ..." if topic.oldest_held_by_more else ""),
    }


def _rates(rates: Rates) -> dict[str, object]:
    return {"in/s": rates.published, "out/s": rates.delivered}


@click.command()
@seconds_option("--every", "Seconds between snapshots.", 2.0, least=0.1)
@limit_option("Stop after this many snapshots. Default: no limit.")
@click.option("--rows", type=click.IntRange(1, 50), default=10, show_default=True, help="Rows per list, at most.")
@json_option
@watch_options
def top(every: float, limit: int | None, rows: int, as_json: bool, server: Server) -> None:
    """Watch the cluster: brokers, rates, the deepest and oldest topics, the slowest subscribers. Ctrl-C ends it.

    On a terminal it redraws the screen; otherwise it prints each snapshot, with --json as one line. Rates are known
    from the second snapshot on. Each snapshot examines up to 1,000 more topics per broker. While no front answers it
    keeps trying. Exit code 6 if the last snapshot failed.
    """
    console = Console(markup=False, highlight=False)
    screen = Screen(rows, time.monotonic)
    with server.admin(RETRIES) as admin:
        watcher = ClusterWatcher(admin, rows, time.monotonic, lambda: datetime.now().astimezone())
        if console.is_terminal and not as_json:
            try:
                with Live(screen, console=console, screen=True, auto_refresh=False) as live:
                    for _ in _snapshots(watcher, screen, every, limit, live.refresh):
                        live.refresh()
            finally:
                if screen.snapshot is not None:
                    console.print(screen)  # leaves the last snapshot on the terminal, as top(1) does
        else:
            _print(watcher, screen, every, limit, as_json)
    if screen.error is not None:
        raise screen.error


def _print(watcher: ClusterWatcher, screen: Screen, every: float, limit: int | None, as_json: bool) -> None:
    console = Console(markup=False, highlight=False, width=UNLIMITED_WIDTH)
    for number in _snapshots(watcher, screen, every, limit, lambda: None):
        if screen.error is not None:
            click.echo(f"fanmail: {printable(str(screen.error))}", err=True)
        elif as_json and screen.snapshot is not None:
            print_json(screen.snapshot.as_object())
        else:
            console.print(Group("", screen) if number else screen)


def _snapshots(
    watcher: ClusterWatcher, screen: Screen, every: float, limit: int | None, redraw: Callable[[], object]
) -> Iterator[int]:
    """Yield the number of each snapshot once it was taken. Raises errors that waiting does not cure, as `Denied`."""
    redraw()
    due = time.monotonic()
    for number in itertools.count() if limit is None else range(limit):
        while (left_s := due - time.monotonic()) > 0:
            time.sleep(min(left_s, REDRAW_S))
            redraw()
        try:
            screen.succeeded(watcher.snapshot())
        except (Unavailable, OutcomeUnknown, ServerFault) as error:
            screen.failed(error)
        yield number
        due = max(due + every, time.monotonic())
