"""`fanmail bench`: rates and latencies of this host, this cluster and this client together."""

from __future__ import annotations

import secrets
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from fanmail.cli.options import Server, grouped, json_option, seconds_option, server_options
from fanmail.cli.output import print_rows, progress
from fanmail.cli.read import wait_out
from fanmail.client import Client
from fanmail.errors import FanmailError, NoSubscription
from fanmail.session.room import DEFAULT_IN_FLIGHT

_STAMP = struct.Struct(">d")
"""The beginning of each body: seconds of this host's monotonic clock."""
FETCH_MESSAGES = 1000
POLL_S = 0.5
CATCH_UP_S = 10.0
"""How long readers may take to catch up at the end."""
NOTE = (
    "fanmail: these rates are those of this client, one Python process, together with the server. They are no measure "
    "of what the server can do: larger --batch values come closer"
)
COLUMNS = ("what", "count", "per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass
class Tally:
    """The messages and latencies of one thread."""

    messages: int = 0
    latencies_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """What a publisher does."""

    size: int
    batch: int
    ws: bool
    in_flight: int

    def start(self, client: Client) -> BenchRun:
        """Return a run. Raises UsageError for what cannot be combined, and where sessions are not installed."""
        if not self.ws:
            return BenchRun(client, self.size, self.batch)
        from fanmail.cli.bench_sessions import SessionBenchRun

        if self.batch > 1:
            raise click.UsageError("--batch cannot be combined with --ws: a session publishes single messages")
        try:
            client.session().close()
        except ImportError as error:
            raise click.UsageError(str(error)) from None
        return SessionBenchRun(client, self.size, self.in_flight)


@click.command()
@seconds_option("--seconds", "How long to publish.", 5.0, least=0.1)
@click.option("--size", type=click.IntRange(min=_STAMP.size), default=100, show_default=True, help="Bytes per message.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Messages per publish.")
@click.option(
    "--publishers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Publisher threads, each with its own topic.",
)
@click.option("--ws", is_flag=True, help="Over WebSocket sessions, with --in-flight messages per publisher at once.")
@click.option(
    "--in-flight",
    type=click.IntRange(min=1),
    default=DEFAULT_IN_FLIGHT,
    show_default=True,
    help="With --ws: messages of a publisher without an answer.",
)
@click.option("--topic", default=None, help="Beginning of the names of the topics. Default: a new name.")
@json_option
@grouped("load", BenchLoad)
@server_options
def bench(seconds: float, load: BenchLoad, publishers: int, topic: str | None, as_json: bool, server: Server) -> None:
    """Publish and read for some seconds, and print rates and latencies.

    Each publisher has its own topic and reader, which are removed at the end. This client, which is one Python process,
    usually limits the rates: with --batch 1 they say more about it than about the server. With --ws, publishers do not
    wait for each answer, which is what a session is for.
    """
    stem = topic or f"fanmail-bench-{secrets.token_hex(4)}"
    topics = [f"{stem}-{number}" for number in range(publishers)]
    with server.connect() as client:
        run = load.start(client)
        try:
            for each in topics:
                client.subscribe(each, "bench", expires_after=600)
            took_s = run.measure(topics, seconds)
        finally:
            for each in topics:
                try:
                    client.unsubscribe(each, "bench")
                except NoSubscription:
                    continue
    if run.errors:
        raise run.errors[0]
    print_rows([_row("publish", run.published, took_s), _row("read", run.read, took_s)], as_json, COLUMNS)
    click.echo(NOTE, err=True)
    missing = _total(run.published) - _total(run.read)
    if missing:
        raise click.ClickException(f"{missing:,} messages were not read within {CATCH_UP_S:g} s")


class BenchRun:
    """One run: threads that publish and read, and their tallies."""

    def __init__(self, client: Client, size: int, batch: int) -> None:
        self._client = client
        self._padding = b"x" * (size - _STAMP.size)
        self._batch = batch
        self._publishing = threading.Event()
        self._answered = threading.Event()
        """Set when publishing is over and every publish has its answer."""
        self._topics: list[str] = []
        self._until = 0.0
        self.published: list[Tally] = []
        self.read: list[Tally] = []
        self.errors: list[FanmailError] = []

    def measure(self, topics: list[str], seconds: float) -> float:
        """Publish for this time and wait until the readers have caught up. Return the seconds of publishing."""
        self._topics = topics
        self._publishing.set()
        self._until = time.monotonic() + seconds + CATCH_UP_S
        publishers = [self._start(self._publish, self.published, topic) for topic in topics]
        readers = [self._start(self._read, self.read, topic) for topic in topics]
        began = time.monotonic()
        try:
            self._watch(began, seconds)
        finally:
            self._publishing.clear()
            for each in publishers:
                each.join()
            self._answered.set()
            took_s = time.monotonic() - began
            for each in readers:
                each.join()
        return took_s

    def _watch(self, began: float, seconds: float) -> None:
        with progress("{task.fields[published]:,} published, {task.fields[read]:,} read") as bar:
            task = bar.add_task("measuring", total=seconds, published=0, read=0)
            while (elapsed := time.monotonic() - began) < seconds and not self.errors:
                bar.update(task, completed=elapsed, published=_total(self.published), read=_total(self.read))
                time.sleep(min(0.1, seconds - elapsed))

    def _start(self, job: Callable[[str, Tally], None], tallies: list[Tally], topic: str) -> threading.Thread:
        tally = Tally()
        tallies.append(tally)

        def run() -> None:
            try:
                job(topic, tally)
            except FanmailError as error:
                self.errors.append(error)

        thread = threading.Thread(target=run, name=f"bench-{job.__name__}", daemon=True)
        thread.start()
        return thread

    def _body(self, began: float) -> bytes:
        return _STAMP.pack(began) + self._padding

    def _has_read_all(self, topic: str, tally: Tally) -> bool:
        """Return whether the reader of a topic has all messages that will ever be published to it."""
        return self._answered.is_set() and tally.messages >= self.published[self._topics.index(topic)].messages

    def _publish(self, topic: str, tally: Tally) -> None:
        while self._publishing.is_set() and not self.errors:
            began = time.monotonic()
            body = self._body(began)
            if self._batch == 1:
                self._client.publish(topic, body)
            else:
                self._client.publish_many(topic, [body] * self._batch)
            tally.latencies_s.append(time.monotonic() - began)
            tally.messages += self._batch

    def _read(self, topic: str, tally: Tally) -> None:
        """Read until everything was read after the end of publishing, or it takes too long."""
        after = "0"
        while not self.errors and time.monotonic() < self._until:
            asked = time.monotonic()
            found = self._client.fetch_frames(topic, "bench", FETCH_MESSAGES, after=after, wait=POLL_S)
            now = time.monotonic()
            if found is None:
                if self._has_read_all(topic, tally):
                    return
                wait_out(asked, POLL_S)
                continue
            tally.latencies_s.extend([now - sent_at_s(body) for body in found.bodies])
            tally.messages += len(found)
            after = found.last


def sent_at_s(body: bytes) -> float:
    """Return when a message was published, in seconds of the monotonic clock."""
    found: float = _STAMP.unpack_from(body)[0]
    return found


def _total(tallies: list[Tally]) -> int:
    return sum(each.messages for each in tallies)


def _row(what: str, tallies: list[Tally], took_s: float) -> dict[str, object]:
    latencies_s = sorted(each for tally in tallies for each in tally.latencies_s)
    count = _total(tallies)

    def percentile_ms(part: float) -> float | None:
        if not latencies_s:
            return None
        return round(latencies_s[min(int(len(latencies_s) * part), len(latencies_s) - 1)] * 1000, 3)

    row: dict[str, object] = {"what": what, "count": count, "per_second": round(count / took_s, 1)}
    percentiles = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    return row | {name: percentile_ms(part) for name, part in percentiles.items()}
