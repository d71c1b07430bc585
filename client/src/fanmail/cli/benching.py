"""`fanmail bench`: what this host and this cluster manage together, with this client."""

from __future__ import annotations

import secrets
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from fanmail.cli.common import Server, json_option, progress, server_options, show, wait_out
from fanmail.client import Client
from fanmail.errors import FanmailError, NoSubscription

_STAMP = struct.Struct(">d")
"""Seconds of this host's monotonic clock, at the head of each body."""
FETCH = 1000
POLL = 0.5
DRAIN = 10.0
"""Seconds for readers to catch up at the end."""
COLUMNS = ("what", "count", "per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass
class Tally:
    """What one thread has done."""

    messages: int = 0
    times: list[float] = field(default_factory=list)
    """Seconds."""


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True)
@click.option("--size", type=click.IntRange(min=_STAMP.size), default=100, show_default=True, help="Bytes a message.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Messages a publish.")
@click.option("--publishers", type=click.IntRange(min=1), default=2, show_default=True, help="Threads, each a topic.")
@click.option("--topic", default=None, help="What the topics' names begin with; by default a new name.")
@json_option
@server_options
def bench(
    seconds: float, size: int, batch: int, publishers: int, topic: str | None, as_json: bool, server: Server
) -> None:
    """Publish and read for some seconds, and show rates and latencies.

    Each publisher has a topic of its own and a reader; both are removed at the end. It is this client, in one Python
    process, that mostly sets the rates: with --batch 1 they say more about it than about the server.
    """
    stem = topic or f"fanmail-bench-{secrets.token_hex(4)}"
    topics = [f"{stem}-{number}" for number in range(publishers)]
    with server.connect() as client:
        run = Run(client, size, batch)
        try:
            for each in topics:
                client.subscribe(each, "bench", expires_after=600)
            took = run.go(topics, seconds)
        finally:
            for each in topics:
                try:
                    client.unsubscribe(each, "bench")
                except NoSubscription:
                    continue
    if run.errors:
        raise run.errors[0]
    show([_row("publish", run.published, took), _row("read", run.read, took)], as_json, COLUMNS)
    missing = sum(each.messages for each in run.published) - sum(each.messages for each in run.read)
    if missing:
        raise click.ClickException(f"{missing} messages were not read within {DRAIN:g} s")


class Run:
    """One run: threads that publish and read, and what they have seen."""

    def __init__(self, client: Client, size: int, batch: int) -> None:
        self._client = client
        self._padding = b"x" * (size - _STAMP.size)
        self._batch = batch
        self._publishing = threading.Event()
        self._until = 0.0
        self.published: list[Tally] = []
        self.read: list[Tally] = []
        self.errors: list[FanmailError] = []

    def go(self, topics: list[str], seconds: float) -> float:
        """Runs so long, and until the readers have caught up; returns the seconds of publishing."""
        self._publishing.set()
        self._until = time.monotonic() + seconds + DRAIN
        publishers = [self._start(self._publish, self.published, topic) for topic in topics]
        readers = [self._start(self._read, self.read, topic) for topic in topics]
        began = time.monotonic()
        try:
            self._watch(began, seconds)
        finally:
            self._publishing.clear()
            for each in publishers:
                each.join()
            took = time.monotonic() - began
            for each in readers:
                each.join()
        return took

    def _watch(self, began: float, seconds: float) -> None:
        with progress("{task.fields[done]:,} published, {task.fields[got]:,} read") as bar:
            task = bar.add_task("measuring", total=seconds, done=0, got=0)
            while (gone := time.monotonic() - began) < seconds and not self.errors:
                done, got = (sum(each.messages for each in tallies) for tallies in (self.published, self.read))
                bar.update(task, completed=gone, done=done, got=got)
                time.sleep(min(0.1, seconds - gone))

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

    def _publish(self, topic: str, tally: Tally) -> None:
        while self._publishing.is_set() and not self.errors:
            began = time.monotonic()
            body = _STAMP.pack(began) + self._padding
            if self._batch == 1:
                self._client.publish(topic, body)
            else:
                self._client.publish_many(topic, [body] * self._batch)
            tally.times.append(time.monotonic() - began)
            tally.messages += self._batch

    def _read(self, topic: str, tally: Tally) -> None:
        """Until all is read after the publishing, or it takes too long."""
        after = "0"
        while not self.errors and time.monotonic() < self._until:
            asked = time.monotonic()
            found = self._client.fetch_frames(topic, "bench", FETCH, after=after, wait=POLL)
            now = time.monotonic()
            if found is None:
                if not self._publishing.is_set():
                    return
                wait_out(asked, POLL)
                continue
            tally.times.extend([now - _STAMP.unpack_from(body)[0] for body in found.bodies])
            tally.messages += len(found)
            after = found.last


def _row(what: str, tallies: list[Tally], took: float) -> dict[str, object]:
    times = sorted(each for tally in tallies for each in tally.times)
    count = sum(tally.messages for tally in tallies)

    def at(part: float) -> float | None:
        return round(times[min(int(len(times) * part), len(times) - 1)] * 1000, 3) if times else None

    row: dict[str, object] = {"what": what, "count": count, "per_second": round(count / took, 1)}
    return row | {"p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1.0)}
