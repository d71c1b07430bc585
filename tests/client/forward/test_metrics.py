"""Metrics and logs of forwarders."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fanmail import Client
from fanmail.forward.exposition import TallyCollector
from fanmail.forward.log_lines import LineWriter, json_line, text_line
from fanmail.forward.tally import Durations, Tally
from tests.client.commands import runner
from tests.client.commands import start as start_command
from tests.client.forward.receiver import Receiver, task
from tests.e2e.cluster import free_ports, wait_for

Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Return the values by name and values of labels, the target first."""
    found = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return {
        (
            each.name.removeprefix("fanmail_forward_"),
            *(each.labels[name] for name in sorted(each.labels, key=lambda name: name != "target")),
        ): each.value
        for each in found
    }


def test_counts_are_shown_for_every_target() -> None:
    durations = Durations()
    tallies = [Tally("news/shop", durations), Tally("news/crm", durations, gone=True)]
    tallies[0].attempts["done"] = 3
    tallies[0].messages["returned"] = 2
    tallies[0].errors["no-subscription"] = 1
    tallies[0].last_success = 1.7e9
    for seconds in (0.01, 0.2, 99.0):
        durations.add(seconds)
    registry = CollectorRegistry()
    registry.register(TallyCollector(tallies, durations))
    found = samples(generate_latest(registry).decode())
    assert found["attempts_total", "news/shop", "done"] == 3
    assert found["messages_total", "news/shop", "returned"] == 2
    assert found["errors_total", "news/shop", "no-subscription"] == 1
    assert found["last_success_timestamp_seconds", "news/shop"] == 1.7e9
    assert [found["target_gone", each.name] for each in tallies] == [0, 1]
    bounds = [found["attempt_duration_seconds_bucket", each] for each in ("0.01", "0.1", "0.25", "15.0", "+Inf")]
    assert bounds == [1, 1, 2, 2, 3]
    assert found["attempt_duration_seconds_count",] == 3


def test_without_the_package_for_metrics_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fanmail.forward.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    run = runner(["http://127.0.0.1:1"], ["http://127.0.0.1:1"])
    done = run("forward", "a", "b", "http://x/", "--metrics-port", "9999", code=2)
    assert done.stderr.splitlines()[-1] == (
        "Error: --metrics-port needs the package prometheus-client: pip install 'fanmail[forward]'"
    )


def test_many_targets_in_one_process(client: Client, urls: list[str], topic: str, tmp_path: Path) -> None:
    port, nobody = free_ports(2), free_ports(1)
    with Receiver() as receiver:
        users = {
            "works": receiver.url,
            "gone": receiver.url,
            "away": f"http://127.0.0.1:{nobody}/",
            "none": receiver.url,
        }
        for user in ("works", "gone", "away"):
            client.subscribe(f"{topic}.{user}", user)
            client.publish(f"{topic}.{user}", task(1, "410" if user == "gone" else "204"))
        tables = [
            f'[[targets]]\ntopic = "{topic}.{user}"\nuser = "{user}"\nurl = "{url}"\n' for user, url in users.items()
        ]
        (tmp_path / "forwards.toml").write_text("".join(tables))
        words = ("--config", str(tmp_path / "forwards.toml"), "--metrics-port", str(port), "--log-format", "json")
        process = start_command(",".join(urls), "forward", *words)
        try:
            wait_for(lambda: _counted(port, topic), "all outcomes")
        finally:
            process.terminate()
            _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    events = {each["event"] for each in map(json.loads, log.splitlines())}
    assert {"forwarding", "an attempt failed", "the target is gone and gets nothing more", "stopped"} <= events


def _counted(port: int, topic: str) -> bool:
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:  # it does not listen yet
        return False
    found = samples(text)

    def count(name: str, user: str, *label: str) -> float:
        return found.get((name, f"{topic}.{user}/{user}", *label), 0)

    assert "process_cpu_seconds_total" in text
    return (
        count("messages_total", "works", "done") == 1
        and count("target_gone", "gone") == 1
        and count("failures_in_a_row", "away") >= 2
        and count("errors_total", "none", "no-subscription") >= 1
    )


class Stuck(io.StringIO):
    """A stream whose reader has stopped until it is `freed`."""

    def __init__(self) -> None:
        super().__init__()
        self.freed = threading.Event()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.freed.wait(30)
        self.lines.append(text)
        return len(text)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stream = Stuck()
    yield stream
    stream.freed.set()


def record(event: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": event, "levelname": "WARNING", "created": 1.7e9})
    vars(made).update(extra)
    return made


def test_a_reader_of_the_log_that_stops_holds_nothing_up(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanmail.forward.log_lines.MAX_LINES", 10)
    writer = LineWriter(stuck, json_line)
    for n in range(50):
        writer.emit(record("x", number=n))
    stuck.freed.set()
    wait_for(lambda: len(stuck.lines) >= 10, "what has room")
    writer.emit(record("y"))
    writer.close()
    dropped = sum(json.loads(line).get("lines_dropped", 0) for line in stuck.lines)
    assert dropped >= 30
    assert dropped + len(stuck.lines) == 51, "what is dropped is counted"


def test_lines_of_the_log() -> None:
    made = record("an attempt failed", target="a/b\n\x1b", reason="", status=500)
    line = json_line(made)
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.000Z",
        "level": "warning",
        "process": "forward",
        "event": "an attempt failed",
        "target": "a/b\n\x1b",
        "status": 500,
    }
    assert text_line(made) == r"22:13:20.000 warning an attempt failed target=a/b\n\x1b status=500"
