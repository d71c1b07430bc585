"""`bin/replica` without any broker: logs are made once, and what is wrong with servers and logs is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.replica.entry import Kind, decode_entry, said
from broker.replica.jetstream import api
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.fetching import Found
from broker.replica.jetstream.health import info_of
from broker.replica.jetstream.streams import Streams, ask
from broker.tools import replica_doctor, replica_init, replica_spread, replica_status
from broker.tools.candidates import Candidate
from common.cluster.slots import BrokerAddress
from common.errors import StartError
from common.protocol import log_stats
from common.protocol.wire import BrokerState
from tests.e2e.cluster import wait_for
from tests.support.nats_cluster import NatsCluster

DESCRIPTION = """
[cluster]
name = "{name}"
[[brokers]]
id = "b0"
candidates = [{{host = "h1", endpoint = "ipc:///nowhere/1"}}, {{host = "h2", endpoint = "ipc:///nowhere/2"}}]
[[brokers]]
id = "b1"
candidates = [{{host = "h2", endpoint = "ipc:///nowhere/3"}}, {{host = "h1", endpoint = "ipc:///nowhere/4"}}]
"""
Call = Callable[..., str]


class Site:
    """A cluster description and a NATS cluster."""

    def __init__(self, path: Path, nats: NatsCluster, name: str, *flags: str) -> None:
        path.write_text(DESCRIPTION.format(name=name))
        self.name = name
        self.nats = nats
        self.access = Access(tuple(node.url for node in nats.nodes))
        self.flags = [f"--config={path}", f"--nats={nats.urls}", *flags]
        self.monitor = f"--monitor={','.join(nats.monitors)}"

    def log_of(self, broker: str) -> Any:
        return ask(self.access, lambda streams: streams.find(self.name, broker))

    def close(self) -> None:
        async def delete(streams: Streams) -> None:
            for broker in ("b0", "b1"):
                for name in await streams.names(self.name, broker):
                    await streams.delete(name)

        ask(self.access, delete)


@pytest.fixture(autouse=True)
def _not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No candidate runs here."""
    monkeypatch.setattr("broker.tools.candidates.ANSWER_S", 0.05)


@pytest.fixture
def site(nats: NatsCluster, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "cluster.toml", nats, "tools")
    yield site
    site.close()


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On one server, with its default settings."""
    nats = NatsCluster(nodes=1, sync_interval='"2m"', max_payload=2**20)
    yield Site(tmp_path_factory.mktemp("site") / "cluster.toml", nats, "careless", "--log-replicas=1")
    nats.close()


def init(site: Site) -> None:
    assert replica_init.run([*site.flags, "--log-max-bytes=16MiB"]) == 0


def doctor(site: Site, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = replica_doctor.run([*site.flags, site.monitor, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_logs_are_made_once_and_say_whose_they_are(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    made = capsys.readouterr().out.splitlines()
    name = site.log_of("b0")
    assert made == [f"b0: {name}", f"b1: {site.log_of('b1')}"]
    init(site)
    assert capsys.readouterr().out.splitlines() == [f"b0: has a log: {name}", f"b1: has a log: {site.log_of('b1')}"]
    assert site.log_of("b0") == name

    async def first(streams: Streams) -> Found:
        answer = await streams.client.request(api.GET + name.stream, api.encode({"seq": 1}))
        return [(1, api.decode(api.Got, answer.data).message.data)]

    ((position, data),) = ask(site.access, first)
    entry = decode_entry(position, data)
    assert (entry.kind, entry.log_id) == (Kind.GENESIS, name.log_id)
    genesis = said(entry)
    assert (genesis.cluster, genesis.broker) == ("tools", "b0")  # type: ignore[union-attr]


def test_a_sound_cluster_is_said_to_be_sound(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    assert doctor(site, capsys)[0] == 0
    assert replica_doctor.run([*site.flags, site.monitor]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["server n0", "server n1", "server n2"]
    assert "3 copies on n0, n1, n2, led by n" in lines[3]


def test_what_the_doctor_has_seen_is_noted_for_the_candidates(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    name = site.log_of("b0")

    def unproven() -> tuple[str, ...]:
        return info_of(ask(site.access, lambda streams: streams.describe(name)), 3, ()).unproven

    assert unproven() == ("n0", "n1", "n2")
    replica_doctor.run([*site.flags, f"--monitor={site.nats.monitors[0]}"])
    assert unproven() == ("n1", "n2")
    assert doctor(site, capsys)[0] == 0
    assert unproven() == ()
    ask(site.access, lambda streams: streams.prove(name, set(), {"n1"}))
    assert unproven() == ("n1",)


def test_leaders_are_spread(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    names = [site.log_of("b0"), site.log_of("b1")]

    def leaders() -> list[str]:
        return [ask(site.access, lambda streams, name=name: streams.describe(name)).cluster.leader for name in names]

    for name in names:
        ask(site.access, lambda streams, name=name: streams.move_leader(name, "n1"))
    wait_for(lambda: leaders() == ["n1", "n1"], "one server to lead both")
    assert "bin/replica spread moves the leaders of b0" in doctor(site, capsys)[1]["remarks"]
    assert replica_spread.run(site.flags) == 0
    assert capsys.readouterr().out.splitlines() == ["b0: led by n0, before by n1", "b1: led by n1"]
    assert leaders() == ["n0", "n1"]
    assert doctor(site, capsys)[1]["remarks"] == []
    replica_doctor.run([*site.flags, site.monitor])
    assert f"broker b0, {names[0]}: 3 copies on n0, n1, n2, led by n0" in capsys.readouterr().out.splitlines()


def test_logs_in_postgres_are_not_spread(site: Site) -> None:
    with pytest.raises(StartError, match="in PostgreSQL have one leader"):
        replica_spread.run([site.flags[0], "--postgres=postgresql:///fanmail"])


def test_a_server_that_loses_what_it_acknowledged_is_named(careless: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(careless)
    code, found = doctor(careless, capsys)
    assert code == 1
    (sync, payload) = found["problems"]
    assert sync.startswith("server n0: sync_interval is 120 s, and must be always")
    assert payload.startswith("server n0: max_payload is 1048576")


def test_a_server_that_does_not_say_how_it_syncs_is_not_trusted(
    careless: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert replica_doctor.run([*careless.flags, "--monitor=http://127.0.0.1:1"]) == 1
    assert "WRONG: server http://127.0.0.1:1: cannot be asked: Connection refused" in capsys.readouterr().out


def test_a_setting_of_a_log_that_was_changed_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    name = site.log_of("b1")

    async def change(streams: Streams) -> None:
        config = (await streams.describe(name)).config
        config.max_age = 3600 * 10**9
        await streams.client.request(f"$JS.API.STREAM.UPDATE.{name.stream}", api.encode(config))

    ask(site.access, change)
    code, found = doctor(site, capsys)
    assert code == 1
    assert found["problems"] == [f"broker b1, {name}: max_age is 3600000000000, not 0"]
    replica_status.run(site.flags)
    assert "b1: max_age is 3600000000000, not 0" in capsys.readouterr().out


def test_a_log_that_is_missing_or_there_twice_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    name = site.log_of("b0")
    ask(site.access, lambda streams: streams.delete(name))
    other = site.log_of("b1")._replace(log_id=bytes(8))
    ask(site.access, lambda streams: streams.create(other, 2**24, 3))
    code, found = doctor(site, capsys)
    assert code == 1
    missing, twice = found["problems"]
    assert missing.startswith("broker b0: broker b0 of cluster tools has no log in NATS")
    assert "broker b1 has several logs in NATS: " in twice


def test_candidates_with_other_settings_of_topics_are_named() -> None:
    def candidate(host: str, digest: int, state: BrokerState | None = BrokerState.READY) -> Candidate:
        return Candidate(BrokerAddress("b0", "", host=host), state, stats={log_stats.TOPICS: digest})

    (problem,) = replica_doctor.look_at_candidates("b0", [candidate("h1", 1), candidate("h2", 2)]).problems
    assert problem.startswith("the candidates on h1 and h2 have different settings of topics")
    for others in ([candidate("h2", 1)], [candidate("h2", 2, None)]):
        assert replica_doctor.look_at_candidates("b0", [candidate("h1", 1), *others]).problems == ()


def test_status_says_which_candidates_do_not_answer(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    init(site)
    capsys.readouterr()
    assert replica_status.run([*site.flags, "--ids=b0", "--json"]) == 1
    (broker,) = json.loads(capsys.readouterr().out)["brokers"]
    assert (broker["owner"], broker["log"]["first"], broker["log"]["last"]) == (None, 1, 1)
    assert [(each["host"], each["state"]) for each in broker["candidates"]] == [
        ("h1", "unreachable"),
        ("h2", "unreachable"),
    ]


def test_without_nats_there_is_one_line(tmp_path: Path, nats: NatsCluster) -> None:
    site = Site(tmp_path / "cluster.toml", nats, "tools")
    flags = [site.flags[0], "--nats=nats://127.0.0.1:1"]
    for command in (replica_init, replica_status):
        with pytest.raises(StartError, match=r"NATS cannot be reached: nats://127\.0\.0\.1:1: Connection refused"):
            command.run(flags)
