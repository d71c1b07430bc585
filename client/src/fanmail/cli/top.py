"""`fanmail top`: a cluster, live."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import click
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from fanmail.cli.common import Server, json_option, say_json, table, watching_options
from fanmail.cli.operating import broker_row
from fanmail.cli.watching import Look, Rates, Watch
from fanmail.cli.words import age, printable, rate, short
from fanmail.errors import FanmailError, OutcomeUnknown, ServerFault, Unavailable
from fanmail.retry import Retries

PATIENT = Retries(total=2.0, base=0.1, most=0.5)
"""A look is not held up longer than this by a front that is away; the next one tries again."""
REDRAW = 0.5
"""Seconds, so that a window of another size and the time since the last look are drawn soon."""
BROKERS = (
    *("id", "state", "in/s", "out/s", "messages", "bytes", "oldest_age", "dead", "topics", "subscriptions", "leases"),
    *("waiting", "memory", "round_trip_ms"),
)
NARROW = ("id", "state", "in/s", "out/s", "messages", "oldest_age", "dead", "leases", "memory")
"""What is left of that in a narrow window."""
DEEPEST = ("deepest topics", "messages", "bytes", "subscriptions", "oldest_age")
OLDEST = ("oldest topics", "oldest_age", "messages", "held by")
SLOWEST = ("slowest subscribers", "of topic", "oldest_age", "pending", "leased", "dead")
WORDS = {"oldest_age": age, "bytes": short, "messages": short, "pending": short, "in/s": rate, "out/s": rate}
AROUND = 4 * 2 + 1
"""Lines of a screen that are no rows: the headings of four tables, a blank line before each, the last line."""
FULL_WIDTH = 118
"""Columns that the brokers' table may need."""


class Screen:
    """What is drawn: the last look, or that there is none."""

    def __init__(self, rows: int, clock: Callable[[], float]) -> None:
        """`rows` of each list, where there is room."""
        self._rows = rows
        self._clock = clock
        self.look: Look | None = None
        self.trouble: FanmailError | None = None
        """Why the last look failed."""
        self._since = 0.0

    def succeeded(self, look: Look) -> None:
        self.look, self.trouble = look, None

    def failed(self, error: FanmailError) -> None:
        """The figures stay, and it is said how old they are."""
        if self.trouble is None:
            self._since = self._clock()
        self.trouble = error

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        look = self.look
        if self.trouble is not None:
            since = f" for {age(self._clock() - self._since)}" if self._clock() - self._since >= 1 else ""
            stale = f"; the figures are of {look.at:%H:%M:%S}" if look else ""
            head = Text(printable(f"no answer{since}{stale}: {self.trouble}"), "bold red")
        else:
            head = Text(_summary(look) if look else "fanmail: looking ...", "bold")
        yield head
        if look is not None:
            used = AROUND + len(head.wrap(console, options.max_width)) + len(look.brokers)
            height = console.height if console.is_terminal else 10_000
            yield from _tables(look, max(min(self._rows, (height - used) // 3), 1), options.max_width)


def _summary(look: Look) -> str:
    up = sum(each.up for each in look.brokers)
    part = "" if look.looked_at >= look.topics else f", {short(look.looked_at)} looked at so far"
    words = [
        f"{look.at:%H:%M:%S}  {up} of {len(look.brokers)} brokers up",
        f"in {rate(look.total_rate('published'))}/s  out {rate(look.total_rate('delivered'))}/s",
        f"{short(look.total('messages'))} messages ({short(look.total('content_bytes'))} bytes)",
        f"oldest {age(look.oldest_age) or 'none'}",
        f"{short(look.total('dead_letters'))} dead letters",
        f"{short(look.topics)} topics{part}",
    ]
    return "   ".join(words)


def _tables(look: Look, rows: int, width: int) -> Iterator[RenderableType]:
    brokers = [broker_row(each) | _rates(look.rates.get(each.id, Rates())) for each in look.brokers]
    deepest = [
        {
            "deepest topics": each.topic,
            "messages": each.messages,
            "bytes": each.bytes,
            "subscriptions": each.subscriptions,
            "oldest_age": each.oldest_age,
        }
        for each in look.deepest[:rows]
    ]
    oldest = [
        {
            "oldest topics": each.topic,
            "oldest_age": each.oldest_age,
            "messages": each.messages,
            "held by": ", ".join(each.oldest_held_by) + (", ..." if each.oldest_held_by_more else ""),
        }
        for each in look.oldest[:rows]
    ]
    slowest = [
        {
            "slowest subscribers": each.subscription.user,
            "of topic": each.topic,
            "oldest_age": each.subscription.oldest_age,
            "pending": each.subscription.pending,
            "leased": each.subscription.leased,
            "dead": each.subscription.dead,
        }
        for each in look.slowest[:rows]
    ]
    lists = (
        (brokers, BROKERS if width >= FULL_WIDTH else NARROW),
        (deepest, DEEPEST),
        (oldest, OLDEST),
        (slowest, SLOWEST),
    )
    for lines, columns in lists:
        yield Text()
        yield table(lines, columns, WORDS, one_line=True)


def _rates(rates: Rates) -> dict[str, object]:
    return {"in/s": rates.published, "out/s": rates.delivered}


@click.command()
@click.option("--every", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many looks; without it, never.")
@click.option("--rows", type=click.IntRange(1, 50), default=10, show_default=True, help="Of each list, at most.")
@json_option
@watching_options
def top(every: float, count: int | None, rows: int, as_json: bool, server: Server) -> None:
    """Watch the cluster: brokers, rates, the deepest and the oldest topics, the slowest subscribers. Ctrl-C ends it.

    At a terminal it redraws the screen; otherwise each look is printed, with --json as a line. Rates are known from the
    second look on. Of very many topics it looks at 1,000 more of each broker with each look. While no front answers it
    goes on trying; exit code 6 where the last look got no answer.
    """
    console = Console(markup=False, highlight=False)
    screen = Screen(rows, time.monotonic)
    with server.admin(PATIENT) as admin:
        watch = Watch(admin, rows, time.monotonic, lambda: datetime.now().astimezone())
        if console.is_terminal and not as_json:
            try:
                with Live(screen, console=console, screen=True, auto_refresh=False) as live:
                    for _ in _looks(watch, screen, every, count, live.refresh):
                        live.refresh()
            finally:
                if screen.look is not None:
                    console.print(screen)  # what was seen last stays, as with top
        else:
            _print(watch, screen, every, count, as_json)
    if screen.trouble is not None:
        raise screen.trouble


def _print(watch: Watch, screen: Screen, every: float, count: int | None, as_json: bool) -> None:
    console = Console(markup=False, highlight=False, width=10_000)
    for number in _looks(watch, screen, every, count, lambda: None):
        if screen.trouble is not None:
            click.echo(f"fanmail: {printable(str(screen.trouble))}", err=True)
        elif as_json and screen.look is not None:
            say_json(screen.look.as_object())
        else:
            console.print(Group("", screen) if number else screen)


def _looks(
    watch: Watch, screen: Screen, every: float, count: int | None, redraw: Callable[[], object]
) -> Iterator[int]:
    """Numbers of looks, each after it; raises what waiting does not mend, such as `Denied`."""
    redraw()
    due = time.monotonic()
    for number in itertools.count() if count is None else range(count):
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, REDRAW))
            redraw()
        try:
            screen.succeeded(watch.look())
        except (Unavailable, OutcomeUnknown, ServerFault) as error:
            screen.failed(error)
        yield number
        due = max(due + every, time.monotonic())
