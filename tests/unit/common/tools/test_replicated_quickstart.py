"""What `bin/quickstart --replicated` writes and starts, without a server."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import StartError
from common.process.locks import lock_file
from common.program import launcher
from common.tools import nats_nodes, replicated_quickstart, replicated_tour
from common.tools.quickstart import parse
from common.tools.replicated_quickstart import PORTS, Replicated


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    monkeypatch.setattr(replicated_quickstart, "find_server", lambda: "nats-server")
    return Namespace(run_dir=tmp_path / "run", data=str(tmp_path / "data"), brokers=4, fronts=2, port=8100, ops_port=0,
                     nats_port=0, log_level="warning", api_keys_file="")  # fmt: skip


@pytest.fixture
def prepared(options: Namespace) -> Iterator[Replicated]:
    with Replicated(options) as replicated:
        yield replicated


def test_the_candidates_of_a_broker_are_on_neighbouring_hosts(prepared: Replicated) -> None:
    names = [each.name for each in prepared.map.addresses]
    assert names == ["b0@h1", "b0@h2", "b1@h2", "b1@h3", "b2@h3", "b2@h1", "b3@h1", "b3@h2"]
    assert prepared.map.endpoint("b1", "h3") == f"ipc://{prepared.run_dir}/h3/b1.sock"


def test_the_servers_sync_every_write_and_know_each_other(prepared: Replicated) -> None:
    ports = [prepared.nodes[0].port + n for n in range(PORTS)]
    assert [node.port for node in prepared.nodes] == ports[::3]
    for node in prepared.nodes:
        text = node.configuration.read_text()
        assert "sync_interval: always" in text
        assert re.findall(r'"nats://127.0.0.1:(\d+)"', text) == [str(port) for port in ports[2::3]]
        listened = re.findall(r'(?:listen|http): "127.0.0.1:(\d+)"', text)
        assert listened == [str(node.port + n) for n in range(3)]
        assert node.folder.stat().st_mode & 0o077 == 0


def test_everything_is_started_in_order_and_each_host_has_files_of_its_own(prepared: Replicated) -> None:
    children = prepared.children()
    assert [each.name for each in children] == ["nats-n1", "nats-n2", "hosts"]
    assert "--nodes=n2,n3" in children[1].argv
    shell, flag, made = children[1].argv[children[1].argv.index("--") + 1 :]
    assert (shell, flag) == ("sh", "-c")
    init, doctor = made.split(" && ")
    assert "-m broker.tools.replica init" in init
    assert f"--monitor={prepared.nodes[0].monitor}," in doctor
    started = json.loads(children[2].argv[-1])
    assert list(started) == ["start-brokers-h1", "start-brokers-h2", "start-brokers-h3"]
    for host, argv in zip(("h1", "h2", "h3"), started.values(), strict=True):
        assert {f"--candidate={host}", f"--run-dir={prepared.run_dir}/{host}", "--store=replicated"} <= set(argv)
        assert f"--data={prepared.data}/{host}" in argv


def test_a_host_without_candidates_is_not_started(options: Namespace) -> None:
    options.brokers = 1
    with Replicated(options) as replicated:
        started = json.loads(replicated.children()[2].argv[-1])
        assert list(started) == ["start-brokers-h1", "start-brokers-h2"]


def test_a_directory_that_was_not_given_is_removed_at_the_end(options: Namespace) -> None:
    options.data = ""
    with Replicated(options) as replicated:
        assert replicated.data.is_dir()
        assert f"{replicated.data}, and are removed when this stops" in replicated.kept
    assert not replicated.data.exists()


def test_a_directory_that_was_given_stays(options: Namespace) -> None:
    with Replicated(options) as replicated:
        assert "survive restarts" in replicated.kept
    assert (Path(options.data) / "nats").is_dir()


def test_the_tour_names_the_processes_that_run(prepared: Replicated, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"b0": "b0@h1", "b1": "b1@h3", "b2": "b2@h3", "b3": "b3@h2"}
    monkeypatch.setattr(replicated_tour, "_owners", lambda port: owners)
    broker = prepared.map.owner(replicated_tour.TOPIC.encode())
    (prepared.run_dir / owners[broker].partition("@")[2]).mkdir()
    lock = prepared.run_dir / owners[broker].partition("@")[2] / f"{owners[broker]}.lock"
    handle = lock_file(lock)
    prepared.nodes[0].pid_file.write_text("4711")
    text = prepared.tour()
    os.close(handle)
    assert re.search(rf"broker {owners[broker]} +owner +{os.getpid()}\n", text)
    assert re.search(r"NATS server n1 +port \d+ +4711\n", text)
    assert f"kill -9 {os.getpid()}\n  kill -9 4711" in text
    assert text.count("standby") == 4


def test_every_call_of_the_tour_sends_the_key_where_fronts_require_one(
    options: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicated_tour, "_owners", lambda port: {})
    options.api_keys_file = "api-keys.toml"
    with Replicated(options) as replicated:
        text = replicated.tour()
    assert text.count("curl ") == text.count('curl -H "Authorization: Bearer $FANMAIL_API_KEY" ') == 3


def test_the_tour_names_commands_as_their_user_calls_them(
    prepared: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicated_tour, "_owners", lambda port: {})
    monkeypatch.setattr(replicated_tour, "launcher", lambda name: launcher(name, installed=True))
    assert "  fanmail-server replica status --config " in prepared.tour()


def test_durable_and_replicated_are_not_given_together() -> None:
    with pytest.raises(StartError, match="replicated brokers are durable"):
        parse(["--durable", "--replicated"])


def test_a_missing_server_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="nats-server is not installed"):
        nats_nodes.find_server()


def test_a_leader_counts_when_it_hears_all_others(prepared: Replicated, monkeypatch: pytest.MonkeyPatch) -> None:
    current = {"replicas": [{"current": True}, {"current": True}]}
    cases: list[tuple[dict[str, Any] | None, bool]] = [
        (None, False),
        ({"meta_cluster": {}}, False),
        ({"meta_cluster": {"leader": "n2", **current}}, True),
        ({"meta_cluster": {"leader": "n2", "replicas": [{"current": True}, {"current": False}]}}, False),
    ]
    for said, expected in cases:
        monkeypatch.setattr(nats_nodes, "ask", lambda node, path, said=said: said)
        assert nats_nodes.has_leader(prepared.nodes) is expected
